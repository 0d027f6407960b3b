"""DeliveryTracker: does a message cost the same among a hundred thousand as among none?"""

from __future__ import annotations

import itertools
import time
from datetime import timedelta

from tests.benchmarks import fill
from tests.benchmarks.row import Row
from tracking.tracker import DeliveryTracker

PROBES = 1_000
_OURS = ("message", "content", "attempt", "event", "metric_delta", "tracked_message")
_DAY = timedelta(hours=23)  # all of them are still tracked
_number = itertools.count()


class Tracker(Row):
    """A message is tracked, and its status updated twice. Ours: where `size` others are tracked. Floor: where none is.
    One thread, a transaction each, as an application would."""

    family, name, counts, full, aim = "tracker", "tracker", "messages", 100_000, 0.8
    least = 20

    def prepare(self) -> None:
        self.account = self.stage.sandbox()
        self.tracker = DeliveryTracker(self.stage.project, "email", self.account.code)
        self.probes = min(PROBES, self.size)
        self.note = f"{self.probes:,} among {self.size:,}"

    def ours(self) -> float:
        self.stage.empty(*_OURS)
        keys = fill.keys(self.size, _DAY)
        fill.sent(self.stage.conn, self.account, self.stage.project.pk, keys)
        until = fill.now() + timedelta(days=1)
        rows = ((key, self.stage.project.pk, until, "{}") for key in keys)
        fill.copy(self.stage.conn, "tracked_message", ("message_id", "project_id", "expires_at", "endpoints"), rows)
        return self._rate()

    def floor(self) -> float:
        self.stage.empty(*_OURS)
        return self._rate()

    def _rate(self) -> float:
        self.stage.analyze("message", "attempt", "tracked_message")
        names = [f"tracked-{next(_number)}" for _ in range(self.probes)]
        started = time.perf_counter()
        for name in names:
            self.tracker.track_message(name, f"{name}@example.com", "welcome")
            assert self.tracker.update_status(name, "SENT")
            assert self.tracker.update_status(name, "DELIVERED")
        return self.probes / (time.perf_counter() - started)
