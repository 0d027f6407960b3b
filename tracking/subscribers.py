"""Which endpoints want to be told of what, kept for two seconds in each process. Called by outgoing, for every message
that changes: a project without endpoints must cost nothing.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Q

from tracking.models import DisabledReason, Endpoint

KEPT = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Subscriber:
    endpoint_id: int
    events: frozenset[str]


class _Book:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._of: dict[int, list[Subscriber]] = {}

    def of(self, project_id: int) -> list[Subscriber]:
        """Of active endpoints, and of those that are off because they failed: what they miss waits for them."""
        if time.monotonic() >= self._until:
            self._refresh()
        return self._of.get(project_id, [])

    def _refresh(self) -> None:
        with self._lock:
            if time.monotonic() < self._until:
                return
            gathering = Q(active=True) | Q(disabled_reason=DisabledReason.FAILING)
            found = Endpoint.objects.filter(gathering, deleted_at=None, digest="").order_by("pk")
            of = defaultdict(list)
            for project_id, key, events in found.values_list("project_id", "pk", "events"):
                of[project_id].append(Subscriber(key, frozenset(events)))
            self._of, self._until = dict(of), time.monotonic() + KEPT

    def forget(self) -> None:
        self._until = 0.0


_book = _Book()
of = _book.of
forget = _book.forget
