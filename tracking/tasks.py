"""What django-q2 runs: each task fetches what it needs and calls a service. Arguments are plain numbers only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings

from providers import rotation
from tracking import jobs, loops, partitions, rate
from tracking.models import IdempotencyKey, Nonce
from tracking.services import check_run, deliveries, rollup, tracked
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


def remap(run_id: int) -> None:
    """A slice of a run of mappings over history; the next one follows."""
    if not service.work(run_id, seconds=SLICE):
        jobs.later("tracking.tasks.remap", run_id)


def ensure_partitions() -> None:
    partitions.ensure_ahead()


def prune() -> None:
    now = datetime.now(UTC)
    IdempotencyKey.objects.filter(created_at__lt=now - timedelta(hours=settings.IDEMPOTENCY_HOURS)).delete()
    Nonce.objects.filter(seen_at__lt=now - timedelta(days=2)).delete()
    jobs.prune_tasks()
    rotation.forget_expired()
    rollup.drop_minutes()
    deliveries.prune(now)
    rate.prune()
    tracked.clean_up_all()


def nightly_check() -> None:
    check_run.spawn()
