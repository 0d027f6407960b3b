"""What the system page shows. Reads only, every query bounded. `live` is what refreshes, `still` what does not: it
costs more and changes by the hour."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.db import connection

from dashboard import lanes
from dashboard.lanes import BOUND, Lane
from tracking import health, jobs, loops, partitions
from tracking.jobs import Scheduled
from tracking.models import CheckRun, Heartbeat, Inbound, Project, Switch, Unmatched
from tracking.services import check_run

GRACE = timedelta(minutes=5)  # after its time in which a job must have been run
SHOWN_RUNS = 5
SHOWN_PROJECTS = 50


@dataclass(frozen=True, slots=True)
class Beat:
    """A loop that should be running, or the tick."""

    name: str
    at: datetime | None
    pid: int | None
    in_flight: int | None
    late: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A job with its verdict."""

    scheduled: Scheduled
    due: bool
    overdue: bool


@dataclass(slots=True)
class Live:
    now: datetime
    switch: Switch | None
    paused: list[Project]
    beats: list[Beat]
    lanes: list[Lane]
    unread: int
    errors: int
    unmatched: int
    jobs: list[Row]
    checking: bool
    bound: int = BOUND

    @property
    def silent(self) -> list[Beat]:
        return [beat for beat in self.beats if beat.late]


def live() -> Live:
    now = datetime.now(UTC)
    beats = {beat.name: beat for beat in Heartbeat.objects.all()}
    return Live(
        now=now,
        switch=Switch.objects.filter(sending_paused=True).first(),
        paused=list(Project.objects.filter(paused=True)[:SHOWN_PROJECTS]),
        beats=_beats(beats, now),
        lanes=lanes.read(now),
        unread=Inbound.objects.order_by().filter(state="new")[: BOUND + 1].count(),
        errors=Inbound.objects.order_by().filter(state="error")[: BOUND + 1].count(),
        unmatched=Unmatched.objects.filter(next_try_at__isnull=False)[: BOUND + 1].count(),
        jobs=[_row(each, now) for each in jobs.scheduled(beats)],
        checking=check_run.running(),
    )


def _beats(found: dict[str, Heartbeat], now: datetime) -> list[Beat]:
    """Those that there should be; a loop that never came shows as missing."""
    limits = {"tick:0": health.STALE} | {f"{name}:{slot}": health.LOOP_STALE for name, slot in loops.wanted()}
    shown = []
    for name, limit in sorted(limits.items()):
        beat = found.get(name)
        detail: dict[str, Any] = beat.detail if beat else {}
        late = beat is None or now - beat.at > limit
        shown.append(Beat(name, beat.at if beat else None, detail.get("pid"), detail.get("in_flight"), late))
    return shown


def _row(each: Scheduled, now: datetime) -> Row:
    late = now - each.next_run if each.next_run else timedelta(0)
    return Row(each, due=late > timedelta(0), overdue=late > GRACE)


# --- what does not refresh


@dataclass(slots=True)
class Table:
    """The partitions of one table."""

    name: str
    bytes: int = 0
    rows: int = 0
    partitions: list[partitions.Partition] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Restart:
    """The last time that the launcher of this machine started a program again."""

    program: str
    at: datetime
    why: str
    count: int


@dataclass(slots=True)
class Still:
    tables: list[Table]
    weeks_ahead: int
    weeks_wanted: int
    runs: list[CheckRun]
    versions: list[tuple[str, str]]
    migrations: str
    restarts: list[Restart]
    projects: list[Project]
    switch: Switch


def still() -> Still:
    return Still(
        tables=_tables(),
        weeks_ahead=partitions.weeks_ahead(),
        weeks_wanted=settings.PARTITION_WEEKS_AHEAD,
        runs=list(CheckRun.objects.all()[:SHOWN_RUNS]),
        versions=_versions(),
        migrations=health.migrations(),
        restarts=restarts(settings.STATE_DIR / "logs"),
        projects=list(Project.objects.order_by("-paused", "code")[:SHOWN_PROJECTS]),
        switch=Switch.objects.filter(pk=1).first() or Switch(),
    )


def _tables() -> list[Table]:
    found: dict[str, Table] = {}
    for partition in partitions.existing():
        table = found.setdefault(partition.table, Table(partition.table))
        table.bytes += partition.bytes
        table.rows += partition.rows
        table.partitions.append(partition)
    return [found[name] for name in partitions.TABLES if name in found]


def _versions() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (server,) = cursor.fetchone()
    return [
        ("Postroom", settings.VERSION),
        ("Python", platform.python_version()),
        ("Django", django.get_version()),
        ("PostgreSQL", str(server)),
    ]


def restarts(place: Path) -> list[Restart]:
    """What config.supervisor has noted on this machine, the newest first; nothing where something else supervises."""
    found = []
    for path in place.glob("*.restart.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(path.read_text())
            at = datetime.fromisoformat(told["at"])
            found.append(Restart(str(told["program"]), at, str(told["why"])[:200], int(told["count"])))
    return sorted(found, key=lambda each: each.at, reverse=True)
