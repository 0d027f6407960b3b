"""How many messages a scope holds: exactly where that can be counted in a bounded number of steps, else about. Called
by the pages that say what an operation or an export would take in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db.models import Count, QuerySet

from tracking import ids
from tracking.models import Message
from tracking.selection import Selection
from tracking.services import export_work

COUNTED = 10_000  # messages after which counting is given up
STEPS = 5  # of selection.LOOKED_THROUGH rows that are looked through


@dataclass(slots=True)
class Counted:
    """What was counted, the newest first. `about`: how many there are by PostgreSQL's estimate, where counting was
    given up at `looked_to`."""

    groups: Counter[tuple[str, int | None]] = field(default_factory=Counter)  # (status, account)
    parts: list[QuerySet[Message]] = field(default_factory=list)  # the rows of each step
    looked_to: datetime | None = None
    about: int = 0

    @property
    def matched(self) -> int:
        return self.groups.total()

    @property
    def exact(self) -> bool:
        return self.looked_to is None


def count(found: Selection) -> Counted:
    """Reads only."""
    counted = Counted()
    place: UUID | None = None
    for _ in range(STEPS):
        step = found.step(place, newest_first=True)
        counted.parts.append(step.rows)
        groups = step.rows.order_by().values_list("status", "account_id").annotate(Count("pk"))
        counted.groups.update({(status, account_id): many for status, account_id, many in groups})
        place = step.edge
        if place is None or counted.matched >= COUNTED:
            break
    if place is not None:
        counted.looked_to = ids.time_of(place)
        counted.about = max(export_work.estimate(found), counted.matched)
    return counted
