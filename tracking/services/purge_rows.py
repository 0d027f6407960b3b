"""Deletes rows by chunks of at most 5,000, each one short transaction. Called by purge alone.

What the metrics count outlives the rows: a project's week is sealed before its first row goes, and what deleted
attempts contribute to other weeks is kept in the transaction that deletes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from tracking import counters, ids, store
from tracking.models import PurgedWeek, Unmatched
from tracking.partitions import WEEK
from tracking.services import purge_late, rollup
from tracking.services.purge_plan import MESSAGE_TABLES, OPEN
from tracking.services.record import count

CHUNK = 5_000
Counts = dict[str, int]  # table → rows

# The tables beside the partitioned ones whose rows belong to single messages, with `message_id` first in an index.
BESIDE: tuple[str, ...] = (
    *("leg", "channel_message", "stream_event", "tracked_message"),
    *("engagement_visit", "engagement_short_link", "engagement_tracked"),
)

_CHOSEN = (
    "SELECT id FROM message m WHERE project_id = %s AND id > %s AND id < %s AND status <> ALL(%s)"
    " AND NOT EXISTS (SELECT FROM queue WHERE message_id = m.id) ORDER BY id LIMIT %s FOR UPDATE"
)
_KEY = {"message": "id"}  # the column of the message's id, where it has another name


def messages(project_id: int, week: datetime, *, horizon: int | None = None) -> Iterator[Counts]:
    """A project's messages of one week with everything that belongs to them; those that are not final stay. What each
    chunk deleted. `horizon`: what has changed since may stand in no export, and stays as well."""
    PurgedWeek.objects.get_or_create(project_id=project_id, kind="message", starts=week)
    after, end = _before(week), ids.floor(week + WEEK)
    while True:
        with transaction.atomic():
            keys = _chosen(project_id, after, end)
            if not keys:
                return
            after = keys[-1]
            if horizon is not None:
                late = purge_late.among(keys, horizon)
                keys = [key for key in keys if key not in late]
            gone = _delete_all(keys, project_id, week) if keys else {}
        yield gone


def _delete_all(keys: Sequence[UUID], project_id: int, week: datetime) -> Counts:
    _keep_metrics(keys, project_id, week)
    gone = {table: _delete(table, keys) for table in (*BESIDE, *MESSAGE_TABLES)}
    return gone | {"webhook_delivery": _deliveries("message_id = ANY(%s)", [list(keys)])}


def contents(project_id: int, week: datetime) -> Iterator[Counts]:
    """What the messages of one week say; those that are not final keep it."""
    after, end = _before(week), ids.floor(week + WEEK)
    while True:
        with transaction.atomic():
            keys = _chosen(project_id, after, end)
            if not keys:
                break
            gone = {"content": _delete("content", keys)}
        yield gone
        after = keys[-1]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM content c JOIN message m ON m.id = c.message_id WHERE m.project_id = %s"
            " AND m.id >= %s AND m.id < %s AND c.message_id >= %s AND c.message_id < %s)",
            [project_id, *[ids.floor(week), end] * 2],
        )
        done = not cursor.fetchone()[0]
    PurgedWeek.objects.update_or_create(project_id=project_id, kind="content", starts=week, defaults={"done": done})


def beside(week: datetime) -> Iterator[Counts]:
    """What belongs to messages of a week whose partitions are dropped, and stands in other tables."""
    return _beside(ids.floor(week), ids.floor(week + WEEK))


def left_behind(oldest: datetime) -> Iterator[Counts]:
    """What came in while such a week was being dropped: of messages from before the oldest week that is there."""
    return _beside(UUID(int=0), ids.floor(oldest))


def _beside(low: UUID, high: UUID) -> Iterator[Counts]:
    bounds = [low, high, CHUNK]
    window = "message_id >= %s AND message_id < %s LIMIT %s"
    while gone := _deliveries(f"id IN (SELECT id FROM webhook_delivery WHERE {window})", bounds):
        yield {"webhook_delivery": gone}
    for table in BESIDE:
        while gone := _execute(f"DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table} WHERE {window})", bounds):
            yield {table: gone}


def strays(week: datetime) -> Iterator[Counts]:
    """The receipts without a message that came in raw requests of a week."""
    found = Unmatched.objects.filter(inbound_id__gte=ids.floor(week), inbound_id__lt=ids.floor(week + WEEK))
    while keys := list(found.order_by("inbound_id", "item").values_list("pk", flat=True)[:CHUNK]):
        yield {"unmatched": Unmatched.objects.filter(pk__in=keys).delete()[0]}


def _before(week: datetime) -> UUID:
    return UUID(int=ids.floor(week).int - 1)


def _chosen(project_id: int, after: UUID, end: UUID) -> list[UUID]:
    """The next messages that may go, locked in id order."""
    with connection.cursor() as cursor:
        cursor.execute(_CHOSEN, [project_id, after, end, list(OPEN), CHUNK])
        return [key for (key,) in cursor.fetchall()]


def _keep_metrics(keys: Sequence[UUID], project_id: int, week: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT message_id FROM attempt WHERE message_id = ANY(%s) AND message_id BETWEEN %s AND %s"
            " AND NOT (started_at >= %s AND started_at < %s)",
            [list(keys), keys[0], keys[-1], week, week + WEEK],
        )
        late = [key for (key,) in cursor.fetchall()]
    counted = counters.none()
    for row in store.read_messages(late).values():
        count(row, 1, counted)
    found = counters.by_bucket(counted)
    rollup.keep({bucket: each for bucket, each in found.items() if not week <= bucket.minute < week + WEEK})


def _delete(table: str, keys: Sequence[UUID]) -> int:
    column = _KEY.get(table, "message_id")
    query = f"DELETE FROM {table} WHERE {column} = ANY(%s) AND {column} BETWEEN %s AND %s"
    return _execute(query, [list(keys), keys[0], keys[-1]])


def _deliveries(where: str, params: list[Any]) -> int:
    with transaction.atomic():
        _execute(
            f"DELETE FROM webhook_attempt WHERE delivery_id IN (SELECT id FROM webhook_delivery WHERE {where})", params
        )
        return _execute(f"DELETE FROM webhook_delivery WHERE {where}", params)


def _execute(query: str, params: list[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return int(cursor.rowcount)
