"""The recount: does what is stored agree with the raw rows? Called by `check_invariants` and by tests; changes nothing.

It goes in keyset chunks of one short transaction each, so that it may run beside live traffic. Counters move while they
are added up; so an hour that seems to differ is looked at a second time, all in one snapshot, before it is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

from tracking import counters, ids, partitions, store
from tracking.counters import Bucket
from tracking.rollups import HOUR
from tracking.rows import MessageRow
from tracking.services import recount
from tracking.services.purge_plan import MESSAGE_TABLES
from tracking.statuses import Status

CHUNK = recount.CHUNK
LEASE_GRACE = 120  # seconds after its end in which the reaper must have found a lease
_NONE = UUID(int=0)
# Where every row belongs to a message that is there. A visit may be of a message that was purged: it goes in seconds.
OF_MESSAGES = (
    *("content", "attempt", "event", "queue", "leg", "channel_message", "stream_event", "webhook_delivery"),
    *("engagement_tracked", "engagement_short_link"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """What does not agree, and where."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def differences(chunk: int = CHUNK) -> Iterator[Difference]:
    """All that disagrees, as it is found."""
    starts = min((partition.starts for partition in partitions.existing()), default=datetime.now(UTC))
    oldest = counters.floor(starts, HOUR.width)
    stream, wrong = recount.Stream(oldest), set[datetime]()
    for rows, queue in _pages(chunk):
        for row in rows:
            wrong |= stream.take(row)
            if (found := list(_message(row, queue))) and not _going(row.id):
                yield from found
    wrong |= stream.finish(counters.floor(datetime.now(UTC), HOUR.width) + 2 * HOUR.width)
    yield from _metrics(wrong, chunk)
    for table in OF_MESSAGES:
        for key in _without_message(table, chunk):
            if not (_going(key) and _there(key)):
                yield Difference(f"{table} {key}", "there is no such message")
    yield from _stale_leases()


def _going(key: UUID) -> bool:
    """Its week is being dropped, one table after the other, or is gone."""
    return recount.Sealed.read().holds(key)


def _there(key: UUID) -> bool:
    """Some of its week is not dropped yet."""
    tables = partitions.by_week().get(partitions.week_start(ids.time_of(key)), {})
    return any(table in tables for table in MESSAGE_TABLES)


# --- one message after the other


def _pages(chunk: int) -> Iterator[tuple[list[MessageRow], dict[UUID, UUID | None]]]:
    """Messages with their attempts, and the queue rows of those that have one: message → lease token."""
    after = _NONE
    while True:
        with recount.snapshot():
            rows = store.read_page(after, chunk)
            queue = _queue_rows(list(rows))
        if not rows:
            return
        yield list(rows.values()), queue
        after = max(rows)


def _queue_rows(message_ids: list[UUID]) -> dict[UUID, UUID | None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT message_id, lease_token FROM queue WHERE message_id = ANY(%s)", [message_ids])
        return dict(cursor.fetchall())


def _message(row: MessageRow, queue: dict[UUID, UUID | None]) -> Iterator[Difference]:
    where = f"message {row.id}"
    numbers = [attempt.number for attempt in row.tries]
    if numbers != list(range(1, row.attempts + 1)):
        yield Difference(where, f"says {row.attempts} attempts, has {numbers}")
    folded = row.folded()
    stored = (row.status, row.reason, row.sent_at, row.delivered_at, row.read_at, row.failed_at)
    if stored != folded:
        yield Difference(where, f"is {_said(*stored)}, its facts say {_said(*folded)}")
    if problem := _queue_problem(row, queue):
        yield Difference(where, problem)


def _said(status: Status, reason: str, *times: datetime | None) -> str:
    words = f"{status} ({reason})" if reason else str(status)
    return " ".join([words, *(time.isoformat() if time else "-" for time in times)])


def _queue_problem(row: MessageRow, queue: dict[UUID, UUID | None]) -> str:
    """A queue row is there exactly while a send is wanted, or while a hand-over under its lease has not ended."""
    wanted = row.send_wanted and row.status is Status.PENDING
    if row.id not in queue:
        if row.status is Status.PROCESSING and not row.elsewhere:
            return "is being handed over, but nobody holds its lease"
        return "waits to be sent, but is not queued" if wanted else ""
    if queue[row.id] is None:
        return "" if wanted else f"is {row.status}, but queued"
    running = bool(row.tries) and row.tries[-1].finished_at is None
    return "" if running else f"is {row.status} and not being handed over, but leased"


# --- metrics


def _metrics(hours: set[datetime], chunk: int) -> Iterator[Difference]:
    """What is wrong in these hours, each looked at in one snapshot."""
    for hour in sorted(hours):
        for tier, buckets in recount.errors(hour, chunk).items():
            for bucket, change in buckets.items():
                yield Difference(f"{tier.table} {_name(bucket)}", f"lacks {_counts(change)}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts))


def _name(bucket: Bucket) -> str:
    return " ".join(str(part) for part in (bucket.minute.isoformat(timespec="minutes"), *bucket[1:]) if part)


# --- what belongs to nothing


def _without_message(table: str, chunk: int) -> Iterator[UUID]:
    low = _NONE
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT message_id FROM {table} WHERE message_id > %s ORDER BY message_id LIMIT %s", [low, chunk]
            )
            keys = sorted({key for (key,) in cursor.fetchall()})
            if not keys:
                return
            high = keys[-1]
            cursor.execute(
                f"SELECT DISTINCT message_id FROM {table} t WHERE message_id > %(low)s AND message_id <= %(high)s"
                " AND NOT EXISTS (SELECT 1 FROM message WHERE id = t.message_id AND id > %(low)s AND id <= %(high)s)"
                " ORDER BY message_id",
                {"low": low, "high": high},
            )
            yield from (key for (key,) in cursor.fetchall())
        low = high


def unmatched() -> tuple[int, int]:
    """Receipts without a message: those that are still tried, and those that are given up. No difference by itself: a
    provider may speak of what was never ours."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(next_try_at), count(*) - count(next_try_at) FROM tracking_unmatched")
        waiting, given_up = cursor.fetchone()
    return waiting, given_up


def _stale_leases() -> Iterator[Difference]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT message_id, lease_until FROM queue WHERE lease_until < now() - %s * interval '1 s'"
            " ORDER BY lease_until",
            [LEASE_GRACE],
        )
        for key, until in cursor.fetchall():
            yield Difference(
                f"queue {key}", f"its lease ended at {until.isoformat(timespec='seconds')}, nobody took it up"
            )
