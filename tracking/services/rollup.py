"""Folding the deltas into the rollups, dropping old minute rows, recounting, sealing. Called by the receive loop's
housekeeping, by jobs and by `rebuild_metrics`.

At any moment, rollups + deltas = what the raw rows contribute. `record` changes raw rows and deltas in one transaction,
`fold` moves deltas into the rollups in one transaction; so an error, once there, stays the same while both go on.
`rebuild` therefore reads the error of an hour in one snapshot and adds it in a transaction of its own: it holds no lock
that record or fold would wait for, and neither loses nor doubles what they do meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from django.db import connection, transaction

from tracking import rollups
from tracking.counters import Bucket, Counts, floor
from tracking.models import MetricKept, MetricMinute, MetricSeal
from tracking.rollups import HOUR, TIERS
from tracking.services import recount

BATCH = 5_000  # deltas folded in one transaction
FOLD_LOCK, REBUILD_LOCK = (7010, 1), (7010, 2)  # advisory


def fold_all(batches: int = 20) -> int:
    """Fold what is there by now, in a bounded number of transactions. How many deltas."""
    folded = 0
    for _ in range(batches):
        done = fold()
        folded += done
        if done < BATCH:
            break
    return folded


def fold(limit: int = BATCH) -> int:
    """Fold the oldest deltas, unless another process is just folding. How many."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", FOLD_LOCK)
            if not cursor.fetchone()[0]:
                return 0
            # nearly all deltas of a moment are equal: they are counted here, and not sent one by one
            cursor.execute(
                "WITH gone AS (DELETE FROM metric_delta WHERE id IN"
                "  (SELECT id FROM metric_delta ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING *)"
                " SELECT count(*), counts, minute, project_id, channel, account_id, kind, label"
                " FROM gone GROUP BY counts, minute, project_id, channel, account_id, kind, label",
                [limit],
            )
            rows = cursor.fetchall()
        if rows:
            rollups.add_up(_added(rows), TIERS, datetime.now(UTC))
    return sum(times for times, *_ in rows)


def _added(rows: list[Any]) -> Counts:
    found: Counts = {}
    for times, counts, *bucket in rows:
        into = found.setdefault(Bucket(*bucket), {})
        for name, count in orjson.loads(counts).items():
            into[name] = into.get(name, 0) + count * times
    return found


def drop_minutes() -> None:
    """The minute rows that no reader asks for any more."""
    oldest = floor(datetime.now(UTC), HOUR.width) - rollups.KEEP_MINUTES
    MetricMinute.objects.filter(start__lt=oldest).delete()


# --- recount


def rebuild(since: datetime, until: datetime) -> Iterator[tuple[datetime, int]]:
    """Recount the hours of a period from the raw rows. Yields (hour, how many buckets were wrong), sealed hours left
    out. Two rebuilds at once would both correct the same error: the second one waits."""
    sealed = recount.Sealed.read()
    start, end = floor(since, HOUR.width), rollups.ceil(until, HOUR.width)
    with _alone():
        while start < end:
            if not sealed.covers(start):
                yield start, _correct(start)
            start += HOUR.width


def _correct(hour: datetime) -> int:
    errors = recount.errors(hour)
    with transaction.atomic():
        for tier, counts in errors.items():
            rollups.add_up(counts, [tier], datetime.now(UTC))
    return sum(map(len, errors.values()))


@contextmanager
def _alone() -> Iterator[None]:
    """A lock of the session: it is there before the first snapshot is taken."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", REBUILD_LOCK)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", REBUILD_LOCK)


def seal(since: datetime, until: datetime) -> None:
    """Before the raw rows of messages made in [since, until) are purged: from now on their buckets are neither rebuilt
    nor compared. What these messages contribute to later buckets is kept, for the recount of those. Both ends are whole
    hours. Raises ValueError."""
    if any(floor(end, HOUR.width) != end for end in (since, until)) or since >= until:
        raise ValueError("only whole hours can be sealed")
    with _alone(), recount.snapshot(read_only=False):
        kept = recount.outside(since, until)
        MetricSeal.objects.create(since=since, until=until)
        MetricKept.objects.filter(minute__gte=since, minute__lt=until).delete()  # nobody compares these any more
        keep(kept)


def keep(counts: Counts) -> None:
    """What rows that go contribute to buckets that are compared after them. In the transaction in which they go."""
    MetricKept.objects.bulk_create(
        MetricKept(
            minute=bucket.minute,
            project_id=bucket.project_id,
            channel=bucket.channel,
            account_id=bucket.account_id,
            counts=each,
        )
        for bucket, each in counts.items()
    )
