"""Feeds the sender threads of outgoing webhooks and records what they learn. Used by the publish loop only. A call that
takes longer than its loop is made again when its lease is over.

All endpoints share one pool of threads. Each may have as many calls under way as it takes at once, but never more than
its share of the pool, which leaves room for a newcomer; one that fails has a single call, and those that fail have half
of the pool together. So neither a slow nor a dead endpoint holds up the others.
"""

from __future__ import annotations

import queue
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

from tracking import wake
from tracking.sender import Sender
from tracking.services import publish

THREADS = 128
FOR_FAILING = THREADS // 2
OUTCOMES = 500  # at most in one transaction
GATHER = 0.005  # seconds that outcomes wait for others: they share a transaction


class Publisher(Sender):
    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="publish")
        self._under_way: Counter[int] = Counter()  # calls, by endpoint
        self._failing: set[int] = set()  # endpoints, as of the last look
        self._outcomes: queue.SimpleQueue[publish.Outcome] = queue.SimpleQueue()
        self._learned: list[publish.Outcome] = []  # not on record yet: the database may be away

    @property
    def in_flight(self) -> int:
        return self._under_way.total()

    def step(self) -> tuple[int, float]:
        done = self.finish()
        soonest, now, room = wake.LOOK_EVERY, datetime.now(UTC), THREADS - self.in_flight
        if room <= 0:
            return done, soonest
        endpoints = publish.waiting()
        self._failing = {each.endpoint_id for each in endpoints if each.failing}
        due = [each for each in endpoints if each.due_at <= now]
        share = max(1, THREADS // (1 + len({each.endpoint_id for each in due} | set(self._under_way))))
        random.shuffle(due)  # where there is not room for all, none is always the last
        done += sum(self._start(each, share) for each in due)
        return done, min([soonest, *((each.due_at - now).total_seconds() for each in endpoints if each.due_at > now)])

    def _start(self, each: publish.Waiting, share: int) -> int:
        room = THREADS - self.in_flight
        if each.failing:
            room = min(room, FOR_FAILING - sum(self._under_way[key] for key in self._failing))
        free = min(each.width, share) - self._under_way[each.endpoint_id]
        letters = publish.claim(each.endpoint_id, min(room, free))
        for letter in letters:
            self._under_way[letter.endpoint_id] += 1
            self._pool.submit(self._tell, letter)
        return len(letters)

    def _tell(self, letter: publish.Letter) -> None:
        """In a sender thread."""
        self._outcomes.put(publish.tell(letter))
        self.bell.ring()

    def finish(self) -> int:
        self._learned += self._gather()
        if not self._learned:
            return 0
        publish.finish(self._learned)
        outcomes, self._learned = self._learned, []
        self._under_way -= Counter(outcome.letter.endpoint_id for outcome in outcomes)
        return len(outcomes)

    def _gather(self) -> list[publish.Outcome]:
        found: list[publish.Outcome] = []
        until, wait = time.monotonic() + GATHER, 0.0
        with suppress(queue.Empty):
            while len(found) < OUTCOMES:
                found.append(self._outcomes.get(timeout=wait) if wait > 0 else self._outcomes.get_nowait())
                wait = max(0.0, until - time.monotonic()) if len(found) < self.in_flight else 0.0
        return found

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()
