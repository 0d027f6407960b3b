"""Which projects somebody follows by stream or long poll, kept for two seconds in each process. Asked by record's
helpers for every message that changes: a project that nobody follows must cost nothing.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from tracking.models import Follower

KEPT = 2.0  # seconds


class _Book:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._projects: frozenset[int] = frozenset()

    def projects(self) -> frozenset[int]:
        if time.monotonic() >= self._until:
            self._refresh()
        return self._projects

    def _refresh(self) -> None:
        with self._lock:
            if time.monotonic() < self._until:
                return
            # the age counts from before the query: what is written afterwards may be missing in its answer
            until = time.monotonic() + KEPT
            found = Follower.objects.filter(until__gt=datetime.now(UTC))
            self._projects, self._until = frozenset(found.values_list("project_id", flat=True)), until

    def forget(self) -> None:
        self._until = 0.0


_book = _Book()
projects = _book.projects
forget = _book.forget
