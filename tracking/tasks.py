"""What django-q2 runs: each task fetches what it needs and calls a service. Arguments are plain numbers only."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from django.conf import settings

from providers import rotation
from tracking import jobs, loops, partitions, rate
from tracking.models import IdempotencyKey, Nonce
from tracking.services import check_run, deliveries, export_work, exports, markers, rollup, stream, tracked
from tracking.services import erase as erasing
from tracking.services import purge as purges
from tracking.services import push_log as push_logs_service
from tracking.services import remap as service

SLICE = 15.0  # seconds


def dispatch_loop(slot: int) -> None:
    loops.run_dispatch(
        slot,
        seconds=settings.LOOP_SECONDS,
        others=jobs.start_missing,
        handing_on=lambda: jobs.start(loops.DISPATCH, slot),
    )


def receive_loop(slot: int) -> None:
    loops.run_receive(
        slot,
        seconds=settings.LOOP_SECONDS,
        others=jobs.start_missing,
        handing_on=lambda: jobs.start(loops.RECEIVE, slot),
    )


def publish_loop(slot: int) -> None:
    loops.run_publish(
        slot,
        seconds=settings.LOOP_SECONDS,
        others=jobs.start_missing,
        handing_on=lambda: jobs.start(loops.PUBLISH, slot),
    )


def tick() -> None:
    loops.beat("tick", 0, {})
    jobs.start_missing()
    for run_id in service.abandoned():
        jobs.later("tracking.tasks.remap", run_id)
    for run_id in purges.abandoned():
        jobs.later(purges.TASK, run_id)
    for erasure_id in erasing.abandoned():
        jobs.later(erasing.TASK, erasure_id)


def remap(run_id: int) -> None:
    """A slice of a run of mappings over history; the next one follows."""
    if not service.work(run_id, seconds=SLICE):
        jobs.later("tracking.tasks.remap", run_id)


def export_slice() -> None:
    """Work on exports for a while, and hand on."""
    if export_work.work(seconds=SLICE) and export_work.anything_to_do():
        jobs.later(exports.TASK)


def export_tick() -> None:
    exports.expire_due(datetime.now(UTC))
    if export_work.anything_to_do():
        jobs.later(exports.TASK)


def push_log_slice() -> None:
    """Work on tracking logs for a while, and hand on."""
    if push_logs_service.work(seconds=SLICE):
        jobs.later(push_logs_service.TASK)


def push_logs() -> None:
    push_logs_service.prune()
    if push_logs_service.anything_to_do():
        jobs.later(push_logs_service.TASK)


def record_marks(member_id: int) -> None:
    """What a member's marker means for messages that one request left; the rest follows."""
    until = time.monotonic() + SLICE
    while markers.record([member_id]):
        if time.monotonic() > until:
            jobs.later("tracking.tasks.record_marks", member_id)
            return


def ensure_partitions() -> None:
    partitions.ensure_ahead()
    purges.finish_drops()


def prune() -> None:
    now = datetime.now(UTC)
    IdempotencyKey.objects.filter(created_at__lt=now - timedelta(hours=settings.IDEMPOTENCY_HOURS)).delete()
    Nonce.objects.filter(seen_at__lt=now - timedelta(days=2)).delete()
    jobs.prune_tasks()
    rotation.forget_expired()
    rollup.drop_minutes()
    deliveries.prune(now)
    rate.prune()
    stream.prune(now, hours=settings.STREAM_HOURS)
    tracked.clean_up_all()


def nightly_check() -> None:
    check_run.spawn()


def nightly_purge() -> None:
    run = purges.start(by="the nightly job")
    if run is not None:
        purge(run.pk)


def purge(run_id: int) -> None:
    """A slice of a purge; the next one follows."""
    if not purges.work(run_id, seconds=SLICE):
        jobs.later(purges.TASK, run_id)


def erase(erasure_id: int) -> None:
    """A slice of an erasure; the next one follows."""
    if not erasing.work(erasure_id, seconds=SLICE):
        jobs.later(erasing.TASK, erasure_id)
