"""The resident loops: dispatch, receive and publish. Run as tasks (tasks.py, jobs.py), and by tests and benchmarks.

A loop holds the advisory lock of its slot or leaves at once, works for LOOP_SECONDS, and ends; `jobs` starts the next.
The ORM is used in the main thread only; sender threads hold no connection.
"""

from __future__ import annotations

import logging
import mmap
import os
import select
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.conf import settings
from django.db import connection

from tracking import collector, followers, wake
from tracking.away import AWAY
from tracking.dispatcher import Dispatcher
from tracking.models import Heartbeat
from tracking.publisher import Publisher
from tracking.sender import Sender
from tracking.services import legs, reap, receive, rollup, stream, unmatched, visits

log = logging.getLogger(__name__)

DISPATCH, RECEIVE, PUBLISH = "dispatch", "receive", "publish"
_CHANNELS = {DISPATCH: wake.DISPATCH, RECEIVE: wake.RECEIVE, PUBLISH: wake.PUBLISH}
_LOCKS = {DISPATCH: 7001, RECEIVE: 7002, PUBLISH: 7003}  # the first half of each loop's advisory lock
NUMBER_EVERY = 0.1  # seconds, while somebody follows a project
HOUSEKEEPING = 2.0  # seconds between two looks at leases, expiry, unmatched receipts and the other loops
DRAIN = 20.0  # seconds that hand-overs under way are waited for when a loop ends
PATIENCE = 8.0  # seconds after its time for which a loop still waits for the database: django-q2 allows 60 in all


# One byte that the cluster's processes inherit. No lock: a worker that is killed could not give it back.
_stopping = mmap.mmap(-1, 1)


def stop_all() -> None:
    """The cluster is to end: loops of this process and of its children end at their next look."""
    _stopping[0] = 1


def run_dispatch(slot: int, *, seconds: float, others: Callable[[], None], handing_on: Callable[[], None]) -> bool:
    """Hold a dispatch slot for a while. False where another process holds it. `others` looks after the other loops,
    `handing_on` is called when no more is claimed and the slot is free again."""
    until = time.monotonic() + seconds + PATIENCE
    dispatcher = Dispatcher()

    def work(listener: wake.Listener) -> None:
        _dispatch_until(listener, dispatcher, _Clock(seconds), slot, others)

    return _send(DISPATCH, slot, dispatcher, work, handing_on, until)


def _send(
    name: str,
    slot: int,
    sender: Sender,
    work: Callable[[wake.Listener], None],
    handing_on: Callable[[], None],
    until: float,
) -> bool:
    """Hold a slot of a loop with sender threads; what is under way at its end is waited for."""
    try:
        if not _hold(name, slot, work):
            return False
        _outlast(handing_on, until)
        _outlast(lambda: sender.drain(DRAIN), until)
        return True
    finally:
        sender.close()


def _hold(name: str, slot: int, work: Callable[[wake.Listener], None]) -> bool:
    """Work while holding the slot. False where another process holds it; True also where the database went away."""
    collector.relax()
    try:
        listener = wake.Listener(_CHANNELS[name])
        try:
            with listener.slot(_LOCKS[name], slot) as held:
                if held:
                    work(listener)
                return held
        finally:
            listener.close()
    except AWAY as error:
        log.warning("the %s loop lost the database: %s", name, error)
        connection.close()
        return True


def _outlast(step: Callable[[], None], until: float) -> None:
    """Do it as soon as the database is back: what hand-overs have learned is worth waiting for."""
    while True:
        try:
            return step()
        except AWAY:
            connection.close()
            if time.monotonic() > until or _stopping[0]:
                raise
            time.sleep(0.5)


def _dispatch_until(
    listener: wake.Listener, dispatcher: Dispatcher, clock: _Clock, slot: int, others: Callable[[], None]
) -> None:
    while clock.running():
        if clock.housekeeping():
            beat(DISPATCH, slot, {"in_flight": dispatcher.in_flight})
            dispatcher.reap()
            reap.expire()
            legs.take_overdue()
            others()
        done, soonest = dispatcher.step()
        if not done:
            _wait(listener, dispatcher, soonest)


def _wait(listener: wake.Listener, sender: Sender, soonest: float) -> None:
    """Until something is due, somebody wakes the loop, or a sender thread has learned something."""
    ears = [listener.fileno(), sender.bell.fileno()]
    ready, _, _ = select.select(ears, [], [], max(0.005, min(soonest, wake.LOOK_EVERY)))
    if listener.fileno() in ready:
        listener.hear()
    if sender.bell.fileno() in ready:
        sender.bell.quiet()


def run_receive(slot: int, *, seconds: float, others: Callable[[], None], handing_on: Callable[[], None]) -> bool:
    """Hold a receive slot for a while, as `run_dispatch`."""
    until = time.monotonic() + seconds + PATIENCE

    def work(listener: wake.Listener) -> None:
        clock = _Clock(seconds)
        while clock.running():
            if clock.housekeeping():
                beat(RECEIVE, slot, {})
                rollup.fold_all()
                unmatched.retry()  # they have their turn, however many new ones come
                others()
            done = receive.drain() or unmatched.retry()
            if not visits.drain() and not done:
                listener.wait(wake.LOOK_EVERY)

    if not _hold(RECEIVE, slot, work):
        return False
    _outlast(handing_on, until)
    return True


def run_publish(slot: int, *, seconds: float, others: Callable[[], None], handing_on: Callable[[], None]) -> bool:
    """Hold a publish slot for a while, as `run_dispatch`."""
    until = time.monotonic() + seconds + PATIENCE
    publisher = Publisher()

    def work(listener: wake.Listener) -> None:
        clock, numbering = _Clock(seconds), _Numbering()
        while clock.running():
            if clock.housekeeping():
                beat(PUBLISH, slot, {"in_flight": publisher.in_flight})
                others()
            pause = numbering.step()
            done, soonest = publisher.step()
            if not done:
                _wait(listener, publisher, min(soonest, pause))

    return _send(PUBLISH, slot, publisher, work, handing_on, until)


class _Numbering:
    """Looks for changes that streams are to be told of, so often as they may be late. Nobody wakes the loop for them:
    that would cost every transaction that changes a message, and a commit for each of them here."""

    def __init__(self) -> None:
        self._next = 0.0

    def step(self) -> float:
        """The seconds until the next look."""
        if (left := self._next - time.monotonic()) > 0:
            return left
        stream.number_committed()
        pause = NUMBER_EVERY if followers.projects() else wake.LOOK_EVERY
        self._next = time.monotonic() + pause
        return pause


class _Clock:
    """When a loop ends: its time is over, the cluster is stopping, or its parent is gone."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._next = 0.0
        self._parent = os.getppid()

    def running(self) -> bool:
        return time.monotonic() < self._until and os.getppid() == self._parent and not _stopping[0]

    def housekeeping(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + HOUSEKEEPING
        return True


def beat(name: str, slot: int, detail: dict[str, object]) -> None:
    Heartbeat.objects.update_or_create(
        name=f"{name}:{slot}", defaults={"at": datetime.now(UTC), "detail": {"pid": os.getpid(), **detail}}
    )


def wanted() -> list[tuple[str, int]]:
    """Every loop that should be running."""
    counts = {DISPATCH: settings.DISPATCH_LOOPS, RECEIVE: settings.RECEIVE_LOOPS, PUBLISH: settings.PUBLISH_LOOPS}
    return [(name, slot) for name, count in counts.items() for slot in range(count)]


def missing() -> list[tuple[str, int]]:
    """The loops whose slot nobody holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT classid::int, objid::int FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        held = set(cursor.fetchall())
    return [(name, slot) for name, slot in wanted() if (_LOCKS[name], slot) not in held]
