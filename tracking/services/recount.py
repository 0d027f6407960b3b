"""Counting the raw rows once more, and how far the rollups are from it. Called by rollup (which corrects) and check
(which reports); changes nothing.

Messages of sealed periods are left out, purged or not; what they had contributed to other buckets is kept apart and
added. Sealed buckets are not looked at, nor are those of weeks in which one project's rows were deleted (PurgedWeek).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, transaction

from tracking import counters, ids, partitions, rollups, store
from tracking.counters import Bucket, Counts
from tracking.models import MetricKept, MetricSeal, PurgedWeek
from tracking.rollups import BLOCK, HOUR, MINUTE, QUARTER, Tier
from tracking.rows import MessageRow
from tracking.services.record import count

CHUNK = 2_000  # messages read at a time
SKEW = HOUR.width  # an attempt's start may be this much before its message's own time: clocks differ


@contextmanager
def snapshot(*, read_only: bool = True) -> Iterator[None]:
    """Several reads that see the same state."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ{', READ ONLY' if read_only else ''}")
        yield


@dataclass(frozen=True, slots=True)
class Sealed:
    """The sealed periods, and the sealed weeks of single projects."""

    periods: tuple[tuple[datetime, datetime], ...]
    weeks: frozenset[tuple[int, datetime]] = frozenset()

    @classmethod
    def read(cls) -> Sealed:
        weeks = PurgedWeek.objects.filter(kind="message").values_list("project_id", "starts")
        return cls(tuple(MetricSeal.objects.values_list("since", "until")), frozenset(weeks))

    def hides(self, bucket: Bucket) -> bool:
        """Whether some of what this bucket counted is deleted."""
        return bool(self.weeks) and (bucket.project_id, partitions.week_start(bucket.minute)) in self.weeks

    def covers(self, moment: datetime) -> bool:
        return any(since <= moment < until for since, until in self.periods)

    def holds(self, message_id: UUID) -> bool:
        return bool(self.periods) and self.covers(ids.time_of(message_id))


def errors(hour: datetime, chunk: int = CHUNK) -> dict[Tier, Counts]:
    """What has to be added to the rows of each tier, so that they say of this hour what the raw rows say."""
    with snapshot():
        sealed, end = Sealed.read(), hour + HOUR.width
        counted = _count(sealed, hour, end, chunk)
        found = {tier: _difference(tier, hour, end, counted, sealed) for tier in _compared(hour)}
        return {BLOCK: _block_error(counters.floor(hour, BLOCK.width), found[HOUR]), **found}


def wrong_hours(low: datetime, high: datetime, counted: Counts, sealed: Sealed) -> set[datetime]:
    """The hours of a period in which any tier says something else. Without a snapshot: each may be a false alarm."""
    found: set[datetime] = set()
    while low < high:
        end = min(high, low + timedelta(days=1))
        part = {bucket: counts for bucket, counts in counted.items() if low <= bucket.minute < end}
        for tier in (HOUR, QUARTER, MINUTE):
            for bucket in _difference(tier, low, end, part, sealed):
                if tier in _compared(hour := counters.floor(bucket.minute, HOUR.width)):
                    found.add(hour)
        block = counters.floor(low, BLOCK.width)
        while block < end:
            if _block_error(block, {}):
                found.add(max(block, low))
            block += BLOCK.width
        low = end
    return found


def _block_error(block: datetime, errors_of_hours: Counts) -> Counts:
    """How far a row of six hours is from the rows of its hours, once those are corrected."""
    hours = rollups.stored(HOUR, block, block + BLOCK.width)
    return _difference(BLOCK, block, block + BLOCK.width, counters.add([*hours.items(), *errors_of_hours.items()]))


def _compared(hour: datetime) -> list[Tier]:
    recent = hour >= rollups.minutes_kept(datetime.now(UTC))
    return [HOUR, QUARTER, MINUTE] if recent else [HOUR, QUARTER]


def _difference(tier: Tier, low: datetime, high: datetime, counted: Counts, sealed: Sealed | None = None) -> Counts:
    wanted, found = counters.add(counted.items(), tier.width), rollups.stored(tier, low, high)
    return {
        bucket: change
        for bucket in {**wanted, **found}
        if not (sealed and sealed.hides(bucket)) and (change := _change(found.get(bucket, {}), wanted.get(bucket, {})))
    }


def _change(found: dict[str, int], wanted: dict[str, int]) -> dict[str, int]:
    return {name: change for name in {**found, **wanted} if (change := wanted.get(name, 0) - found.get(name, 0))}


# --- counting


def _count(sealed: Sealed, low: datetime, high: datetime, chunk: int) -> Counts:
    """What the messages made in a period, and the attempts started in it, contribute to its buckets."""
    counted = counters.none()
    for rows in messages(low, high, chunk):
        for row in rows:
            if not sealed.holds(row.id):
                count(row, 1, counted)
    others = _tried_in(low, high)
    for start in range(0, len(others), chunk):
        for row in store.read_messages(others[start : start + chunk]).values():
            if not sealed.holds(row.id):
                count(row, 1, counted)
    return _within(low, high, [*counters.by_bucket(counted).items(), *kept(low, high)])


def _within(low: datetime, high: datetime, rows: list[tuple[Bucket, dict[str, int]]]) -> Counts:
    return counters.add((bucket, counts) for bucket, counts in rows if low <= bucket.minute < high)


def messages(low: datetime, high: datetime, chunk: int = CHUNK) -> Iterator[list[MessageRow]]:
    """Those made in a period, with their attempts, page after page."""
    after, end = UUID(int=ids.floor(low).int - 1), ids.floor(high)
    while rows := store.read_page(after, chunk, before=end):
        yield list(rows.values())
        after = max(rows)


def _tried_in(low: datetime, high: datetime) -> list[UUID]:
    """The messages made at another time of which an attempt started in the period, in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT message_id FROM attempt WHERE message_id < %s AND started_at >= %s AND started_at < %s"
            " ORDER BY message_id",
            [ids.floor(high + SKEW), low, high],
        )
        first, last = ids.floor(low), ids.floor(high)
        return [key for (key,) in cursor.fetchall() if not first <= key < last]


def kept(low: datetime | None = None, high: datetime | None = None) -> list[tuple[Bucket, dict[str, int]]]:
    """What sealed messages contributed to the buckets of a period that is not sealed itself."""
    rows = MetricKept.objects.all()
    if low and high:
        rows = rows.filter(minute__gte=low, minute__lt=high)
    return [(Bucket(row.minute, row.project_id, row.channel, row.account_id), row.counts) for row in rows]


def outside(since: datetime, until: datetime, chunk: int = CHUNK) -> Counts:
    """What messages made in a period contribute to buckets of another time: their later attempts."""
    with connection.cursor() as cursor:  # few of a million have any: the others are not read
        cursor.execute(
            "SELECT DISTINCT message_id FROM attempt WHERE message_id >= %s AND message_id < %s"
            " AND NOT (started_at >= %s AND started_at < %s)",
            [ids.floor(since), ids.floor(until), since, until],
        )
        keys = [key for (key,) in cursor.fetchall()]
    counted = counters.none()
    for start in range(0, len(keys), chunk):
        for row in store.read_messages(keys[start : start + chunk]).values():
            count(row, 1, counted)
    found = counters.by_bucket(counted)
    return {bucket: counts for bucket, counts in found.items() if not since <= bucket.minute < until}


class Stream:
    """The recount of everything, in the order of the messages: a bucket is final once all messages up to its time have
    been seen, for attempts only start after their message was made."""

    def __init__(self, start: datetime) -> None:
        self._sealed = Sealed.read()
        self._done = start
        self._counted = counters.none()
        self._kept = kept()

    def take(self, row: MessageRow) -> set[datetime]:
        """Count a message. The hours that have become final with it and seem to be wrong."""
        final = counters.floor(ids.time_of(row.id) - SKEW, HOUR.width)
        found = self.finish(final) if final > self._done else set()
        if not self._sealed.holds(row.id):
            count(row, 1, self._counted)
        return found

    def finish(self, until: datetime) -> set[datetime]:
        """All hours before this one are final."""
        end = int(until.timestamp()) // 60
        final = counters.none()
        for key in [key for key in self._counted if key[0] < end]:
            final[key] = self._counted.pop(key)
        counted = _within(self._done, until, [*counters.by_bucket(final).items(), *self._kept])
        found = wrong_hours(self._done, until, counted, self._sealed)
        self._done = until
        return {hour for hour in found if not self._sealed.covers(hour)}
