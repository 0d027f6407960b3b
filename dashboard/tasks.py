"""What django-q2 runs of the console: each task calls a service. Arguments are plain numbers only."""

from __future__ import annotations

from dashboard import alerts, bulk, bulk_work, notify
from tracking import jobs

SLICE = 15.0  # seconds


def bulk_slice() -> None:
    """Work on bulk operations for a while, and hand on."""
    if bulk_work.work(seconds=SLICE) and bulk_work.anything_to_do():
        jobs.later(bulk.TASK)


def bulk_tick() -> None:
    """Goes on with operations whose worker died. Leaves at once where one is at work."""
    if bulk_work.anything_to_do():
        jobs.later(bulk.TASK)


def alert_tick() -> None:
    """Evaluates the rules, and sees to notifications that are due again."""
    alerts.evaluate(seconds=SLICE)
    if notify.anything_due():
        jobs.later(notify.TASK)


def alert_deliver() -> None:
    if notify.deliver(seconds=SLICE):
        jobs.later(notify.TASK)


def alert_prune() -> None:
    alerts.prune()
