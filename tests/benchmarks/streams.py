"""Taking messages in while a thousand streams are open, beside the same without any."""

from __future__ import annotations

import time

from tests.benchmarks.crowd import Crowd
from tests.benchmarks.submit import Single
from tracking import followers, ids
from tracking.models import Follower

STREAMS = 1_000
OF_EVERYTHING = 10  # of them; each of the others follows a message of its own


class Streamed(Single):
    """Ours: with the streams, so that each message is also written down for them, numbered and told. Floor: the same
    server, with nobody who follows."""

    family, name, full, aim = "stream", "submit, streams open", 3_000, 0.9

    def prepare(self) -> None:
        super().prepare()
        self.stream_port = self.resources.enter_context(self.stage.streams())
        count = STREAMS if self.size > self.least else 50
        self.queries = [""] * OF_EVERYTHING + [f"?notification_id={ids.new()}" for _ in range(count - OF_EVERYTHING)]
        self.note = f"{count:,} streams, {OF_EVERYTHING} of everything"

    def ours(self) -> float:
        crowd = Crowd(self.stream_port, self.stage.key, self.queries)
        try:
            rate = super().ours()
            self.stage.until(lambda: crowd.changes >= OF_EVERYTHING * self.size, 60)
            assert not crowd.broken
            return rate
        finally:
            crowd.close()

    def floor(self) -> float:
        Follower.objects.all().delete()
        time.sleep(followers.KEPT + 0.5)
        return super().ours()
