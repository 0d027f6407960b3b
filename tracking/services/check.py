"""The recount: does what is stored agree with the raw rows? Called by `check_invariants` and by tests; changes nothing.

It goes in keyset chunks of one short transaction each, so that it may run beside live traffic. Counters move while they
are added up; so a minute that seems to differ is looked at a second time, its deltas and its rows in one snapshot,
before it is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction

from tracking import ids, metrics, partitions, store
from tracking.rows import MessageRow
from tracking.services.record import count
from tracking.statuses import Status, fold

CHUNK = 2_000
LEASE_GRACE = 120  # seconds after its end in which the reaper must have found a lease
_NONE = UUID(int=0)
Minute = tuple[str, datetime]  # cohort, minute
Counts = dict[metrics.Bucket, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Difference:
    """What does not agree, and where."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def differences(chunk: int = CHUNK) -> Iterator[Difference]:
    """All that disagrees, as it is found."""
    counted = metrics.none()
    for rows, queue in _pages(chunk):
        for row in rows:
            count(row, 1, counted)
            yield from _message(row, queue)
    yield from _metrics(counted, chunk)
    for table in ("content", "attempt", "event", "queue"):
        for key in _without_message(table, chunk):
            yield Difference(f"{table} {key}", "there is no such message")
    yield from _stale_leases()


@contextmanager
def _snapshot() -> Iterator[None]:
    """Several reads that see the same state."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


# --- one message after the other


def _pages(chunk: int) -> Iterator[tuple[list[MessageRow], dict[UUID, UUID | None]]]:
    """Messages with their attempts, and the queue rows of those that have one: message → lease token."""
    after = _NONE
    while True:
        with _snapshot():
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
    folded = fold(row.handovers(), row.decision, row.decided_after)
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
        if row.status is Status.PROCESSING:
            return "is being handed over, but nobody holds its lease"
        return "waits to be sent, but is not queued" if wanted else ""
    if queue[row.id] is None:
        return "" if wanted else f"is {row.status}, but queued"
    running = bool(row.tries) and row.tries[-1].finished_at is None
    return "" if running else f"is {row.status} and not being handed over, but leased"


# --- metrics


def _metrics(counted: metrics.Deltas, chunk: int) -> Iterator[Difference]:
    suspects = {(bucket.cohort, bucket.minute) for bucket, *_ in _unequal(_stored(), metrics.by_bucket(counted))}
    if not suspects:
        return
    with _snapshot():
        stored, recounted = _stored(), metrics.by_bucket(_recount(suspects, chunk))
    for bucket, says, finds in _unequal(stored, recounted):
        if (bucket.cohort, bucket.minute) in suspects:
            yield Difference("metrics " + _name(bucket), f"stored {_counts(says)}; recounted {_counts(finds)}")


def _stored() -> Counts:
    """The sum of all deltas, from the oldest week whose raw rows are still there."""
    since = min(partition.starts for partition in partitions.existing())
    columns = ", ".join(metrics.Bucket._fields)
    added = metrics.none()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT counter, sum(change::bigint)::bigint, {columns}"
            f" FROM metric_delta, jsonb_each_text(counts) AS each (counter, change)"
            f" WHERE minute >= %s GROUP BY counter, {columns}",
            [since],
        )
        for counter, change, *bucket in cursor.fetchall():
            added[metrics.Bucket(*bucket)][counter] = change
    return metrics.by_bucket(added)


def _recount(minutes: set[Minute], chunk: int) -> metrics.Deltas:
    """Count the messages made, and the messages whose attempts started, in these minutes."""
    counted = metrics.none()
    keys = sorted(set(_made_in(minutes)) | set(_tried_in(minutes)))
    for start in range(0, len(keys), chunk):
        for row in store.read_messages(keys[start : start + chunk]).values():
            count(row, 1, counted)
    return counted


def _made_in(minutes: set[Minute]) -> Iterator[UUID]:
    with connection.cursor() as cursor:
        for cohort, minute in minutes:
            if cohort == "message":
                bounds = [ids.floor(minute), ids.floor(minute + timedelta(minutes=1))]
                cursor.execute("SELECT id FROM message WHERE id >= %s AND id < %s", bounds)
                yield from (key for (key,) in cursor.fetchall())


def _tried_in(minutes: set[Minute]) -> list[UUID]:
    starts = [minute for cohort, minute in minutes if cohort == "attempt"]
    if not starts:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT message_id FROM attempt WHERE message_id < %s AND started_at >= %s AND started_at < %s"
            " AND date_trunc('minute', started_at) = ANY(%s)",
            [ids.floor(max(starts) + timedelta(minutes=2)), min(starts), max(starts) + timedelta(minutes=1), starts],
        )
        return [key for (key,) in cursor.fetchall()]


def _unequal(stored: Counts, recounted: Counts) -> Iterator[tuple[metrics.Bucket, dict[str, int], dict[str, int]]]:
    for bucket in sorted({*stored, *recounted}, key=str):
        says, finds = stored.get(bucket, {}), recounted.get(bucket, {})
        if says != finds:
            yield bucket, says, finds


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "nothing"


def _name(bucket: metrics.Bucket) -> str:
    return " ".join(
        str(part) for part in (bucket.cohort, bucket.minute.isoformat(timespec="minutes"), *bucket[2:]) if part
    )


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
