"""The resident loops: dispatch, receive and publish. Run as tasks (tasks.py, jobs.py), and by tests and benchmarks.

A loop holds the advisory lock of its slot or leaves at once, works for LOOP_SECONDS, and ends; `jobs` starts the next.
The ORM is used in the main thread only; sender threads hold no connection.
"""

from __future__ import annotations

import logging
import mmap
import os
import queue
import select
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from tracking import accounts, collector, followers, wake
from tracking.bell import Bell
from tracking.models import Heartbeat
from tracking.publisher import Publisher
from tracking.services import dispatch, legs, receive, rollup, stream, visits

log = logging.getLogger(__name__)

DISPATCH, RECEIVE, PUBLISH = "dispatch", "receive", "publish"
_CHANNELS = {DISPATCH: wake.DISPATCH, RECEIVE: wake.RECEIVE, PUBLISH: wake.PUBLISH}
_LOCKS = {DISPATCH: 7001, RECEIVE: 7002, PUBLISH: 7003}  # the first half of each loop's advisory lock
LOOK_EVERY = 1.0  # seconds: a lost wake-up costs no more than this
NUMBER_EVERY = 0.1  # seconds, while somebody follows a project
HOUSEKEEPING = 2.0  # seconds between two looks at leases, expiry, unmatched receipts and the other loops
DRAIN = 20.0  # seconds that hand-overs under way are waited for when a loop ends
OUTCOMES = 500  # at most in one transaction
PATIENCE = 8.0  # seconds after its time for which a loop still waits for the database: django-q2 allows 60 in all
_AWAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
# Seconds that the first outcome, and the latest one, wait for others: they share a transaction.
GATHER, GAP = 0.01, 0.002
SAME_ACCOUNTS = 0.02  # seconds for which a busy loop goes on with the accounts that it knows to have work


# One byte that the cluster's processes inherit. No lock: a worker that is killed could not give it back.
_stopping = mmap.mmap(-1, 1)


def stop_all() -> None:
    """The cluster is to end: loops of this process and of its children end at their next look."""
    _stopping[0] = 1


class Lane:
    """The sender threads of one account: a provider that hangs holds up nobody else."""

    def __init__(self, width: int, done: Callable[[dispatch.Outcome], None], name: str) -> None:
        self.width = width
        self.in_flight = 0
        self._done = done
        self._pool = ThreadPoolExecutor(width, thread_name_prefix=f"send-{name}")

    @property
    def free(self) -> int:
        return self.width - self.in_flight

    def submit(self, handover: dispatch.Handover, call: Callable[[dispatch.Handover], dispatch.Outcome]) -> None:
        self.in_flight += 1
        self._pool.submit(lambda: self._done(call(handover)))

    def close(self) -> None:
        self._pool.shutdown(wait=False)


class Dispatcher:
    """Feeds the lanes of all accounts and records what their threads learn."""

    def __init__(self) -> None:
        self._lanes: dict[int, Lane] = {}
        self._outcomes: queue.SimpleQueue[dispatch.Outcome] = queue.SimpleQueue()
        self._learned: list[dispatch.Outcome] = []  # not on record yet: more than one where the database is away
        self.bell = Bell()
        self._abandoned = False
        self._waiting: list[dispatch.Waiting] = []
        self._look_at = 0.0

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self._lanes.values())

    def step(self) -> tuple[int, float]:
        """Record what is finished, start what is due. How much was done, and the seconds until something is due."""
        done = self._finish()
        fresh = time.monotonic() >= self._look_at
        if fresh:
            self._waiting, self._look_at = dispatch.waiting(), time.monotonic() + SAME_ACCOUNTS
        started, soonest = self._start_due()
        if done or started:
            return done + started, soonest
        self._look_at = 0.0
        return (0, soonest) if fresh else self.step()

    def _start_due(self) -> tuple[int, float]:
        started, soonest, now = 0, LOOK_EVERY, datetime.now(UTC)
        for waiting in self._waiting:
            lane = self._lane(waiting.account_id)
            opens = max(filter(None, (waiting.first_due, waiting.gate.opens_at())))
            seconds = (opens - now).total_seconds()
            if seconds > 0:
                soonest = min(soonest, seconds)
            elif lane is not None and lane.free:
                started += self._start(waiting.account_id, lane)
        return started, soonest

    def _lane(self, account_id: int) -> Lane | None:
        bound = accounts.by_id(account_id)
        if bound is None:
            return None
        lane = self._lanes.get(account_id)
        width = share(bound.account.max_in_flight)
        if lane is None or (lane.width != width and not lane.in_flight):
            if lane is not None:
                lane.close()
            lane = self._lanes[account_id] = Lane(width, self._done, bound.account.code)
        return lane

    def _start(self, account_id: int, lane: Lane) -> int:
        handovers = dispatch.start(account_id, lane.free)
        for handover in handovers:
            lane.submit(handover, dispatch.hand_over)
        return len(handovers)

    def reap(self) -> None:
        """Leases that ran out; providers that can be asked what became of theirs are asked in their lanes."""
        for handover in dispatch.reap():
            lane = self._lane(handover.account_id)
            if lane is not None:
                lane.submit(handover, dispatch.ask)

    def _done(self, outcome: dispatch.Outcome) -> None:
        """In a sender thread."""
        if self._abandoned:  # the loop has ended without this one: it is recorded all the same
            try:
                dispatch.finish([outcome])
            finally:
                connection.close()
            return
        self._outcomes.put(outcome)
        self.bell.ring()

    def _finish(self) -> int:
        self._learned += self._gather()
        if not self._learned:
            return 0
        _record(self._learned)
        outcomes, self._learned = self._learned, []
        for outcome in outcomes:
            self._lanes[outcome.handover.account_id].in_flight -= 1
        return len(outcomes)

    def _gather(self) -> list[dispatch.Outcome]:
        """What has been learned by now, and what is learned in the next moment: a transaction costs as much as many
        messages."""
        found: list[dispatch.Outcome] = []
        until, wait = time.monotonic() + GATHER, 0.0
        with suppress(queue.Empty):
            while len(found) < min(OUTCOMES, self.in_flight):
                found.append(self._outcomes.get(timeout=wait))
                wait = max(0.0, min(GAP, until - time.monotonic()))
        return found

    def drain(self, seconds: float) -> None:
        """Wait for the hand-overs under way; those that take longer record their own outcome when they end."""
        until = time.monotonic() + seconds
        while self.in_flight and time.monotonic() < until:
            select.select([self.bell], [], [], 0.2)
            self.bell.quiet()
            self._finish()
        self._abandoned = True
        while self._finish():
            pass

    def close(self) -> None:
        self._abandoned = True
        for lane in self._lanes.values():
            lane.close()
        self.bell.close()


def _record(outcomes: Sequence[dispatch.Outcome]) -> None:
    """One that cannot be recorded takes no other with it: its lease runs out, and its message is reaped."""
    try:
        dispatch.finish(outcomes)
        return
    except _AWAY:
        raise
    except Exception:
        log.exception("%d outcomes could not be recorded together", len(outcomes))
    for outcome in outcomes:
        try:
            dispatch.finish([outcome])
        except _AWAY:
            raise
        except Exception:
            log.exception("the outcome of message %s could not be recorded", outcome.handover.message_id)


def share(max_in_flight: int) -> int:
    """How many of an account's hand-overs one dispatch loop may have under way: the cap is over all of them, and a loop
    that filled it again and again would leave the others nothing to do."""
    loops: int = settings.DISPATCH_LOOPS
    return -(-max_in_flight // loops)


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
    sender: Dispatcher | Publisher,
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
    except _AWAY as error:
        log.warning("the %s loop lost the database: %s", name, error)
        connection.close()
        return True


def _outlast(step: Callable[[], None], until: float) -> None:
    """Do it as soon as the database is back: what hand-overs have learned is worth waiting for."""
    while True:
        try:
            return step()
        except _AWAY:
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
            dispatch.expire()
            legs.take_overdue()
            others()
        done, soonest = dispatcher.step()
        if not done:
            _wait(listener, dispatcher, soonest)


def _wait(listener: wake.Listener, sender: Dispatcher | Publisher, soonest: float) -> None:
    """Until something is due, somebody wakes the loop, or a sender thread has learned something."""
    ears = [listener.fileno(), sender.bell.fileno()]
    ready, _, _ = select.select(ears, [], [], max(0.005, min(soonest, LOOK_EVERY)))
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
                receive.retry_unmatched()  # they have their turn, however many new ones come
                others()
            done = receive.drain() or receive.retry_unmatched()
            if not visits.drain() and not done:
                listener.wait(LOOK_EVERY)

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
        pause = NUMBER_EVERY if followers.projects() else LOOK_EVERY
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
