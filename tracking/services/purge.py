"""Purges what is past its retention: whole partitions where every project is past them, else rows. Called by the
nightly job, `manage.py purge` and the console.

A run keeps no place: what is gone is gone, so that after a crash it plans anew and goes on. One works at a time, in
slices; a slice does one partition or one chunk of rows after the other.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from django.db import OperationalError, connection, transaction

from tracking import partitions
from tracking.alone import alone
from tracking.models import MetricSeal, Project, PurgeRun
from tracking.partitions import WEEK
from tracking.services import purge_exports, purge_late, purge_plan, purge_rows, rollup
from tracking.services.purge_plan import Step

STALE = timedelta(minutes=2)  # a run that was not worked at for so long has lost its worker
KEPT_RUNS = 400
TRIES = 2  # times that a drop waits for readers; the next hour or night finishes it
TASK = "tracking.tasks.purge"
_LOCK = (7010, 3)  # advisory
_ALL = "(all)"  # what belongs to no single project


def start(*, by: str) -> PurgeRun | None:
    """On record; the caller works at it, or lets the job do it. None where one is not finished yet."""
    now = datetime.now(UTC)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK[0], _LOCK[1] + 1])  # two that start one at once
        if PurgeRun.objects.filter(finished_at=None).exists():
            return None
        return PurgeRun.objects.create(started_at=now, worked_at=now, by=by, horizon=purge_late.horizon())


def abandoned() -> list[int]:
    """Runs whose worker is gone."""
    stale = datetime.now(UTC) - STALE
    return list(PurgeRun.objects.filter(finished_at=None, worked_at__lt=stale).values_list("pk", flat=True))


def work(run_id: int, *, seconds: float) -> bool:
    """Go on with a run for so long. True where nothing is left to do by now, or another worker does it. A run that
    waits for an export is not finished; `abandoned` names it again."""
    until = time.monotonic() + seconds
    with alone(_LOCK) as mine:
        run = PurgeRun.objects.filter(pk=run_id, finished_at=None).first()
        if not mine or run is None:
            return True
        try:
            return _slice(run, until)
        except Exception as error:
            run.error, run.finished_at = type(error).__qualname__, datetime.now(UTC)
            run.save()
            raise


def _slice(run: PurgeRun, until: float) -> bool:
    held = [] if finish_drops() else ["a partition could not be dropped yet: somebody reads it"]
    codes = dict(Project.objects.values_list("pk", "code"))
    waits = False
    for planned in purge_plan.steps(run.started_at):
        step = purge_exports.of_step(planned, since=run.started_at)
        if isinstance(step, str):
            waits = True
            held.append(f"{planned.kind} of {_week(planned.week)} stays: {step}")
            continue
        if step.why:
            held.append(f"{step.kind} of {_week(step.week)} is not dropped whole: {step.why}")
        for _ in _do(run, step, codes, held):
            run.worked_at = datetime.now(UTC)
            run.save()
            if time.monotonic() > until:
                return False
    for gone in _left_behind():
        _count(run, _ALL, gone)
    run.held, run.worked_at = held, datetime.now(UTC)
    run.finished_at = None if waits else run.worked_at
    run.save()
    _forget_old()
    return True


def _left_behind() -> Iterator[dict[str, int]]:
    oldest = next((week for week, tables in partitions.by_week().items() if "message" in tables), None)
    return purge_rows.left_behind(oldest) if oldest else iter(())


def _week(week: datetime) -> str:
    return f"the week from {week:%Y-%m-%d}"


def _do(run: PurgeRun, step: Step, codes: dict[int, str], held: list[str]) -> Iterator[None]:
    """One step of the plan; yields after each short piece of work, whose result is noted in the run."""
    exported = [project.pk for project in purge_exports.wanting(step)]
    if step.whole and not _late(run, step, exported):
        beside = {"message": purge_rows.beside, "inbound": purge_rows.strays}.get(step.kind)
        for gone in beside(step.week) if beside else ():
            _count(run, _ALL, gone)
            yield
        if not _late(run, step, exported):
            _drop(run, step, held)
            yield
            return
    if step.whole or _late(run, step, exported):
        held.append(f"of {_week(step.week)} stays what changed after its export was asked for")
    for project_id in step.projects:
        for gone in _rows(step, project_id, run.horizon if project_id in exported else None):
            _count(run, codes[project_id], gone)
            yield


def _late(run: PurgeRun, step: Step, exported: Sequence[int]) -> bool:
    return purge_late.in_week(step.week, exported, run.horizon)


def _rows(step: Step, project_id: int, horizon: int | None) -> Iterator[dict[str, int]]:
    if step.kind == "message":
        return purge_rows.messages(project_id, step.week, horizon=horizon)
    return purge_rows.contents(project_id, step.week)


def _count(run: PurgeRun, code: str, gone: dict[str, int]) -> None:
    run.counts[code] = dict(Counter(run.counts.get(code, {})) + Counter(gone))


def _drop(run: PurgeRun, step: Step, held: list[str]) -> None:
    if step.kind == "message":
        _seal(step.week)
    try:
        partitions.drop(*step.tables, tries=TRIES)
    except OperationalError as error:
        if not partitions.put_off(error):
            raise
        held.append(f"{step.kind} of {_week(step.week)} is dropped later: somebody reads it")
    run.dropped += [[part.name, part.rows, part.bytes] for part in step.tables if not _noted(run, part.name)]


def _noted(run: PurgeRun, name: str) -> bool:
    return any(name == noted for noted, *_ in run.dropped)


def _seal(week: datetime) -> None:
    """Its metrics stay as they are. Directly before its rows go; a run that goes on after a crash has sealed it."""
    if not MetricSeal.objects.filter(since__lte=week, until__gte=week + WEEK).exists():
        rollup.seal(week, week + WEEK)


def finish_drops() -> bool:
    """End drops that readers had put off. False where they still do."""
    try:
        partitions.finish_drops(TRIES)
    except OperationalError as error:
        if not partitions.put_off(error):
            raise
        return False
    return True


def _forget_old() -> None:
    oldest = PurgeRun.objects.values_list("pk", flat=True)[KEPT_RUNS : KEPT_RUNS + 1].first()
    if oldest is not None:
        PurgeRun.objects.filter(pk__lte=oldest).delete()
