"""Runs the invariant check on record: one at a time, with its result kept. Called by the command and the nightly job.

The check may take longer than a task may (60 s), so that the job starts a process of its own for it.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from itertools import islice

from django.conf import settings
from django.db import connection, transaction

from tracking.models import CheckRun
from tracking.services import check

KEPT = 100  # differences that are kept in words; all are counted
KEPT_RUNS = 100
_LOCK = 7010


def spawn() -> None:
    """Start the check beside the workers. It belongs to their process group: it ends when they are ended."""
    subprocess.Popen(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "check_invariants", "--record"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def run() -> CheckRun | None:
    """Check everything; the result, which is also stored. None where another process is at it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return None
        try:
            return _run()
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def running() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND objsubid = 1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
            [_LOCK],
        )
        return bool(cursor.fetchone()[0])


def _run() -> CheckRun:
    kept = CheckRun.objects.create(started_at=datetime.now(UTC))
    found = check.differences()
    try:
        kept.differences = [str(each) for each in islice(found, KEPT)]
        kept.found = len(kept.differences) + sum(1 for _ in found)
    except Exception as error:
        kept.error = type(error).__qualname__
        raise
    finally:
        kept.finished_at = datetime.now(UTC)
        kept.save()
        _forget_old()
    return kept


@transaction.atomic
def _forget_old() -> None:
    oldest = CheckRun.objects.order_by("-id").values_list("id", flat=True)[KEPT_RUNS : KEPT_RUNS + 1].first()
    if oldest is not None:
        CheckRun.objects.filter(id__lte=oldest).delete()
