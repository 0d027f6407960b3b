"""Changes of status for those who follow a project. `of_changes` is called by record, `number_committed` by the publish
loop, `prune` by the jobs, the rest by the stream process (tracking/streaming).

Numbers are given after the commit, by one transaction at a time: so they become visible in their order, and whoever has
read up to one never misses a smaller one, however late the transaction that changed the message was committed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from tracking import followers, store, wake
from tracking.rows import MessageRow
from tracking.statuses import Status

NUMBERING = 7010  # the advisory lock of whoever gives numbers
AT_ONCE = 5_000  # rows in one statement
FOLLOWED_FOR = 3600.0  # seconds after the last stream or long poll
# Seconds until every process knows that a project is followed, and what was being written before is committed.
KNOWN_AFTER = followers.KEPT + 1.0


class Event(NamedTuple):
    """A change that has its number."""

    number: int
    message_id: UUID
    project_id: int
    channel: str
    status: str
    previous: str | None
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Filter:
    """What of a project is wanted; an empty set wants everything."""

    channels: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    messages: frozenset[UUID] = frozenset()

    def wants(self, event: Event) -> bool:
        return (
            (not self.channels or event.channel in self.channels)
            and (not self.statuses or event.status in self.statuses)
            and (not self.messages or event.message_id in self.messages)
        )


# --- writing


def of_changes(changes: Iterable[tuple[MessageRow, Status | None]], now: datetime) -> store.Write:
    """A row for each (message, status before) that changed, where its project is followed."""
    followed = followers.projects()
    if not followed:
        return store.stream_events([])
    changed = [(row, before) for row, before in changes if row.project_id in followed and row.status is not before]
    return store.stream_events([_row(row, before, now) for row, before in changed])


def _row(row: MessageRow, before: Status | None, now: datetime) -> dict[str, Any]:
    return {
        "message_id": row.id,
        "project_id": row.project_id,
        "channel": row.channel,
        "status": row.status,
        "previous": before,
        "reason": row.reason,
        "at": now,
    }


# --- numbering

_NUMBER = """
UPDATE stream_event e SET number = n.number FROM (
    SELECT message_id, place, nextval('stream_number') AS number
    FROM (SELECT message_id, place FROM stream_event WHERE number IS NULL ORDER BY place LIMIT %s) waiting
) n WHERE e.message_id = n.message_id AND e.place = n.place
"""


def number_committed() -> int:
    """Number what is committed, and wake the streams. How many rows."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM stream_event WHERE number IS NULL)")
        if not cursor.fetchone()[0]:
            return 0
        with transaction.atomic():
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBERING])
            cursor.execute(_NUMBER, [AT_ONCE])  # a statement of its own: it sees what the one before committed
            wake.after_commit(wake.STREAM)
            return int(cursor.rowcount)


def newest() -> int:
    """The last number that is given and visible: none below it will ever appear."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBERING])
        cursor.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM stream_number")
        return int(cursor.fetchone()[0])


# --- following

_FOLLOW = """
INSERT INTO stream_follower AS f (project_id, since, until, floor)
VALUES (%(project)s, now(), now() + make_interval(secs => %(kept)s), %(at)s)
ON CONFLICT (project_id) DO UPDATE SET
    since = CASE WHEN f.until < now() THEN excluded.since ELSE f.since END,
    floor = CASE WHEN f.until < now() THEN excluded.floor ELSE f.floor END,
    until = excluded.until
RETURNING extract(epoch FROM now() - since)::float
"""


def follow(project_id: int) -> float:
    """From now on the project's changes are written down. In how many seconds that is true of every process."""
    at = newest()
    with connection.cursor() as cursor:
        cursor.execute(_FOLLOW, {"project": project_id, "kept": FOLLOWED_FOR, "at": at})
        return max(0.0, KNOWN_AFTER - float(cursor.fetchone()[0]))


def under_way() -> int:
    """A number for `ended`: of the transactions that there have been until now."""
    return _number("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")


def ended(until: int) -> bool:
    """Whether all of these transactions have ended, as far as they write."""
    return _number("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint") >= until


def _number(query: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def still_followed(project_ids: Collection[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE stream_follower SET until = now() + make_interval(secs => %s) WHERE project_id = ANY(%s)",
            [FOLLOWED_FOR, list(project_ids)],
        )


# --- reading

_COLUMNS = "number, message_id, project_id, channel, status, previous, reason, at"
_AFTER = f"SELECT {_COLUMNS} FROM stream_event WHERE number > %s ORDER BY number LIMIT %s"
_OF_PROJECT = f"""
SELECT f.floor, e.* FROM stream_follower f LEFT JOIN LATERAL (
    SELECT {_COLUMNS} FROM stream_event WHERE project_id = f.project_id AND number > %s ORDER BY number LIMIT %s
) e ON true WHERE f.project_id = %s ORDER BY e.number
"""


class Gone(Exception):
    """What was asked for is no longer kept, or never was."""


def after(number: int, limit: int = AT_ONCE) -> list[Event]:
    """Of all projects, in the order of numbers."""
    with connection.cursor() as cursor:
        cursor.execute(_AFTER, [number, limit])
        return [Event(*row) for row in cursor.fetchall()]


def of_project(project_id: int, number: int, limit: int) -> list[Event]:
    """The project's events after that number. Raises Gone where some of them are missing."""
    with connection.cursor() as cursor:
        cursor.execute(_OF_PROJECT, [number, limit, project_id])
        rows = cursor.fetchall()  # floor and events of one moment: pruning in between would leave a gap
    if not rows or rows[0][0] > number:
        raise Gone
    return [Event(*row[1:]) for row in rows if row[1] is not None]


# --- pruning

_PRUNE = """
WITH gone AS (
    DELETE FROM stream_event WHERE (message_id, place) IN (
        SELECT message_id, place FROM stream_event WHERE at < %s AND number IS NOT NULL LIMIT %s
    ) RETURNING project_id, number
), floors AS (
    UPDATE stream_follower f SET floor = greatest(f.floor, g.number)
    FROM (SELECT project_id, max(number) AS number FROM gone GROUP BY project_id) g WHERE f.project_id = g.project_id
)
SELECT count(*) FROM gone
"""


def prune(now: datetime, *, hours: int) -> int:
    """Forget what is older. A slice at a time; how many."""
    pruned = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_PRUNE, [now - timedelta(hours=hours), AT_ONCE])
            count = int(cursor.fetchone()[0])
        pruned += count
        if count < AT_ONCE:
            return pruned
