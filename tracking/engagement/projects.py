"""What each project wants to know of engagement, kept for two seconds in each process. Called for every hand-over: a
project without tracking must cost nothing.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from tracking.models import EngagementSettings

KEPT = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Wishes:
    base: str  # how every tracked address begins
    opens: bool
    clicks: bool
    unsubscribe: bool
    short_links: bool
    push_callbacks: bool


class _Book:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._of: dict[int, Wishes] = {}

    def of(self, project_id: int) -> Wishes | None:
        """None: nothing at all."""
        if time.monotonic() >= self._until:
            self._refresh()
        return self._of.get(project_id)

    def _refresh(self) -> None:
        with self._lock:
            if time.monotonic() < self._until:
                return
            self._of = {row.pk: _wishes(row) for row in EngagementSettings.objects.all()}
            self._until = time.monotonic() + KEPT

    def forget(self) -> None:
        self._until = 0.0


def _wishes(row: EngagementSettings) -> Wishes:
    return Wishes(row.base, row.opens, row.clicks, row.unsubscribe, row.short_links, row.push_callbacks)


_book = _Book()
of = _book.of
forget = _book.forget
