"""What the loops with sender threads have in common: a bell that the threads ring, outcomes to be put on record, and an
end that waits for what is under way. Base of Dispatcher and Publisher."""

from __future__ import annotations

import select
import time
from abc import ABC, abstractmethod

from tracking.bell import Bell


class Sender(ABC):
    def __init__(self) -> None:
        self.bell = Bell()

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """How many calls are under way."""

    @abstractmethod
    def step(self) -> tuple[int, float]:
        """Record what is finished, start what is due. How much was done, and the seconds until something is due."""

    @abstractmethod
    def finish(self) -> int:
        """Record what is finished; how many there were."""

    def drain(self, seconds: float) -> None:
        """Wait for the calls under way."""
        until = time.monotonic() + seconds
        while self.in_flight and time.monotonic() < until:
            select.select([self.bell], [], [], 0.2)
            self.bell.quiet()
            self.finish()

    def close(self) -> None:
        self.bell.close()
