"""Loops and schedules, declared as one table. The only module that imports django-q2.

django-q2 runs what is declared here and keeps nothing that matters: with all its tables lost, `manage.py work` declares
everything anew and goes on where PostgreSQL says.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from django.conf import settings
from django.db import Error, connection, transaction
from django.utils.module_loading import import_string
from django_q import cluster as django_q_cluster
from django_q.cluster import Cluster, Sentinel
from django_q.models import Failure, OrmQ, Schedule, Success
from django_q.tasks import async_task

from tracking import loops, partitions
from tracking.models import Heartbeat

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is done every so many minutes. `task` is a function of `module`."""

    task: str
    minutes: int
    what: str
    module: str = "tracking.tasks"


JOBS = [
    Job("tick", 1, "starts loops that are missing, writes the heartbeat"),
    Job("ensure_partitions", 60, "makes the partitions of the weeks ahead"),
    Job("prune", 30, "forgets old idempotency keys, nonces, tasks, webhook deliveries, stream events, metric minutes"),
    Job("nightly_purge", 1440, "purges what is past its retention"),
    Job("export_tick", 1, "goes on with exports whose worker died, removes files whose time is over"),
    Job("push_logs", 1, "goes on with tracking logs whose worker is gone, and removes those that have expired"),
    Job("nightly_check", 1440, "recounts, and reports what does not agree"),
]
LAST_RUN = "job:"  # how the names of heartbeats of jobs begin
DAY, NIGHT = 1440, 3  # minutes; the hour (UTC) at which daily jobs run
KEEP_TASKS = timedelta(days=1)


def register(*jobs: Job) -> None:
    """Add jobs of an app above this one; called when that app gets ready."""
    JOBS.extend(job for job in jobs if job not in JOBS)


def later(task: str, *numbers: int) -> None:
    """Run a task once, soon: its dotted path and plain numbers. It is part of the caller's transaction."""
    async_task("tracking.jobs.run", task, *numbers, task_name=task.rpartition(".")[2])  # the name is for its logs


class TaskFailed(Exception):
    """What django-q2 is told of a failure: it keeps and logs the whole text of an error, which may name a recipient."""


def run(task: str, *numbers: int) -> None:
    """What django-q2 calls for everything. Of jobs it is kept when they ran last, and with which result."""
    started, fault = time.monotonic(), ""
    try:
        import_string(task)(*numbers)
    except Exception as error:
        log.exception("the task %s failed", task)
        fault = type(error).__qualname__
        raise TaskFailed(fault) from None
    finally:
        module, _, name = task.rpartition(".")
        if any(job.task == name and job.module == module for job in JOBS):
            _keep_result(name, time.monotonic() - started, fault)


def _keep_result(name: str, seconds: float, fault: str) -> None:
    with suppress(Error):  # the database may be what failed
        Heartbeat.objects.update_or_create(
            name=f"{LAST_RUN}{name}",
            defaults={"at": datetime.now(UTC), "detail": {"seconds": round(seconds, 3), "fault": fault}},
        )


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A job as the system page shows it."""

    job: Job
    next_run: datetime | None  # None: not declared, the workers never ran
    last_run: datetime | None
    seconds: float | None
    fault: str


def scheduled(beats: Mapping[str, Heartbeat]) -> Sequence[Scheduled]:
    """All jobs, with what their heartbeats say. One query."""
    due = dict(Schedule.objects.values_list("name", "next_run"))
    return [_scheduled(job, due.get(job.task), beats.get(f"{LAST_RUN}{job.task}")) for job in JOBS]


def _scheduled(job: Job, next_run: datetime | None, beat: Heartbeat | None) -> Scheduled:
    if beat is None:
        return Scheduled(job, next_run, None, None, "")
    return Scheduled(job, next_run, beat.at, beat.detail.get("seconds"), beat.detail.get("fault", ""))


def declare() -> None:
    """Make the schedules say what JOBS says, and nothing else."""
    if settings.Q_CLUSTER["workers"] < len(loops.wanted()) + 2:
        raise SystemExit(
            f"WORKERS is {settings.Q_CLUSTER['workers']}, but {len(loops.wanted())} loops and 2 more are needed"
        )
    with transaction.atomic():
        Schedule.objects.exclude(name__in=[job.task for job in JOBS]).delete()
        for job in JOBS:
            Schedule.objects.update_or_create(
                name=job.task,
                defaults={
                    "func": "tracking.jobs.run",
                    "args": repr((f"{job.module}.{job.task}",)),
                    "schedule_type": Schedule.MINUTES,
                    "minutes": job.minutes,
                    "repeats": -1,
                    "next_run": datetime.now(UTC) if job.minutes < DAY else _tonight(),
                },
            )


def _tonight() -> datetime:
    """A daily job waits for its hour: a cluster that is restarted often must not run it each time."""
    now = datetime.now(UTC)
    tonight = now.replace(hour=NIGHT, minute=0, second=0, microsecond=0)
    return tonight if tonight > now else tonight + timedelta(days=1)


class _Cluster(Cluster):  # type: ignore[misc]
    """Ends the resident loops first: django-q2 waits for its tasks, and they would take their time."""

    def stop(self) -> bool:
        loops.stop_all()
        return bool(super().stop())


class _Sentinel(Sentinel):  # type: ignore[misc]
    """Replaces a worker that was killed at work. A process that was killed while it waited may have held a lock of the
    queues that nobody can give back, and the others would wait for ever: then the whole cluster ends, and its
    supervisor starts it anew."""

    def reincarnate(self, process: Any) -> None:
        killed = process.exitcode is not None and process.exitcode < 0
        if killed and not _at_work(process):
            self._give_up(process.name)
        super().reincarnate(process)

    def _give_up(self, name: str) -> NoReturn:
        log.critical("%s was killed and may have held a lock of the queues: the cluster ends", name)
        loops.stop_all()
        until = time.monotonic() + loops.DRAIN + 2
        while any(_at_work(process) and process.is_alive() for process in self.pool) and time.monotonic() < until:
            time.sleep(0.05)
        for process in (*self.pool, self.monitor, self.pusher):
            process.kill()
        os._exit(1)


django_q_cluster.Sentinel = _Sentinel  # Cluster offers no other way to choose it


def _at_work(process: Any) -> bool:
    """Is it running a task, or was it when it died? Only workers have a timer; its lock may have died with them."""
    timer = getattr(process, "timer", None)
    return timer is not None and timer.get_obj().value > 0


def run_cluster() -> None:
    """Run the workers until SIGTERM or SIGINT."""
    partitions.ensure_ahead()
    clear_queue()
    declare()
    start_missing()
    later("tracking.tasks.tick")  # the scheduler first looks after half a minute
    connection.close()  # not to be shared with the processes that are forked now
    cluster = _Cluster()
    cluster.start()
    cluster.sentinel.join()
    if cluster.sentinel.exitcode:
        raise SystemExit("the cluster has ended by itself")


def clear_queue() -> None:
    """Forget tasks of a cluster that is gone: loops and ticks are declared anew, so nothing is lost."""
    OrmQ.objects.all().delete()


def start_missing() -> None:
    """Enqueue the loops whose slot nobody holds. One too many leaves by itself."""
    for name, slot in loops.missing():
        start(name, slot)


def start(name: str, slot: int) -> None:
    later(f"tracking.tasks.{name}_loop", slot)


def prune_tasks() -> None:
    """django-q2 never prunes its failures."""
    before = datetime.now(UTC) - KEEP_TASKS
    Success.objects.filter(stopped__lt=before).delete()
    Failure.objects.filter(stopped__lt=before).delete()
