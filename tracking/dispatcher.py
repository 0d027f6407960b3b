"""The sender threads of the dispatch loop: a lane for each account, fed with what is due, emptied of what was learned.
Used by loops only.

The database is used in the loop's own thread; sender threads hold no connection.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

from django.conf import settings
from django.db import connection

from tracking import accounts, wake
from tracking.away import AWAY
from tracking.sender import Sender
from tracking.services import dispatch, outcomes, reap
from tracking.services.handover import Handover, Outcome, ask, hand_over

log = logging.getLogger(__name__)

OUTCOMES = 500  # at most in one transaction
# Seconds that the first outcome, and the latest one, wait for others: they share a transaction.
GATHER, GAP = 0.01, 0.002
SAME_ACCOUNTS = 0.02  # seconds for which a busy loop goes on with the accounts that it knows to have work


class Lane:
    """The sender threads of one account: a provider that hangs holds up nobody else."""

    def __init__(self, width: int, done: Callable[[Outcome], None], name: str) -> None:
        self.width = width
        self.in_flight = 0
        self._done = done
        self._pool = ThreadPoolExecutor(width, thread_name_prefix=f"send-{name}")

    @property
    def free(self) -> int:
        return self.width - self.in_flight

    def submit(self, handover: Handover, call: Callable[[Handover], Outcome]) -> None:
        self.in_flight += 1
        self._pool.submit(lambda: self._done(call(handover)))

    def close(self) -> None:
        self._pool.shutdown(wait=False)


class Dispatcher(Sender):
    """Feeds the lanes of all accounts and records what their threads learn."""

    def __init__(self) -> None:
        super().__init__()
        self._lanes: dict[int, Lane] = {}
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._learned: list[Outcome] = []  # not on record yet: more than one where the database is away
        self._abandoned = False
        self._waiting: list[dispatch.Waiting] = []
        self._look_at = 0.0

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self._lanes.values())

    def step(self) -> tuple[int, float]:
        done = self.finish()
        fresh = time.monotonic() >= self._look_at
        if fresh:
            self._waiting, self._look_at = dispatch.waiting(), time.monotonic() + SAME_ACCOUNTS
        started, soonest = self._start_due()
        if done or started:
            return done + started, soonest
        self._look_at = 0.0
        return (0, soonest) if fresh else self.step()

    def _start_due(self) -> tuple[int, float]:
        started, soonest, now = 0, wake.LOOK_EVERY, datetime.now(UTC)
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
            lane.submit(handover, hand_over)
        return len(handovers)

    def reap(self) -> None:
        """Leases that ran out; providers that can be asked what became of theirs are asked in their lanes."""
        for handover in reap.orphans():
            lane = self._lane(handover.account_id)
            if lane is not None:
                lane.submit(handover, ask)

    def _done(self, outcome: Outcome) -> None:
        """In a sender thread."""
        if self._abandoned:  # the loop has ended without this one: it is recorded all the same
            try:
                outcomes.finish([outcome])
            finally:
                connection.close()
            return
        self._outcomes.put(outcome)
        self.bell.ring()

    def finish(self) -> int:
        self._learned += self._gather()
        if not self._learned:
            return 0
        _record(self._learned)
        recorded, self._learned = self._learned, []
        for outcome in recorded:
            self._lanes[outcome.handover.account_id].in_flight -= 1
        return len(recorded)

    def _gather(self) -> list[Outcome]:
        """What has been learned by now, and what is learned in the next moment: a transaction costs as much as many
        messages."""
        found: list[Outcome] = []
        until, wait = time.monotonic() + GATHER, 0.0
        with suppress(queue.Empty):
            while len(found) < min(OUTCOMES, self.in_flight):
                found.append(self._outcomes.get(timeout=wait))
                wait = max(0.0, min(GAP, until - time.monotonic()))
        return found

    def drain(self, seconds: float) -> None:
        """Those that take longer record their own outcome when they end."""
        super().drain(seconds)
        self._abandoned = True
        while self.finish():
            pass

    def close(self) -> None:
        self._abandoned = True
        for lane in self._lanes.values():
            lane.close()
        super().close()


def _record(learned: Sequence[Outcome]) -> None:
    """One that cannot be recorded takes no other with it: its lease runs out, and its message is reaped."""
    try:
        outcomes.finish(learned)
        return
    except AWAY:
        raise
    except Exception:
        log.exception("%d outcomes could not be recorded together", len(learned))
    for outcome in learned:
        try:
            outcomes.finish([outcome])
        except AWAY:
            raise
        except Exception:
            log.exception("the outcome of message %s could not be recorded", outcome.handover.message_id)


def share(max_in_flight: int) -> int:
    """How many of an account's hand-overs one dispatch loop may have under way: the cap is over all of them, and a loop
    that filled it again and again would leave the others nothing to do."""
    loops: int = settings.DISPATCH_LOOPS
    return -(-max_in_flight // loops)
