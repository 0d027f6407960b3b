"""What a rule would have done in the last 24 hours: the same states, over a value every few minutes. Called by
the rule's form. Reads only; the numbers are those of today: what has been delivered since counts as delivered."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dashboard import readings
from dashboard.alert_kinds import badness, lasting, shown
from dashboard.incident_state import Deed, Open, decide
from dashboard.models import AlertRule


@dataclass(slots=True)
class Preview:
    points: list[tuple[datetime, float | None]] = field(default_factory=list)  # the worst of its subjects
    times: int = 0
    lasted: timedelta = timedelta()  # with its quiet time
    worst: str = ""
    impossible: str = ""
    step: timedelta = timedelta()  # between two points

    @property
    def shown(self) -> str:
        return lasting(self.lasted.total_seconds())


def preview(rule: AlertRule, now: datetime) -> Preview:
    if not rule.shape.metric:
        return Preview(impossible="What the queue was like is not kept: there is no preview for this kind of rule.")
    try:
        found = readings.past(rule, now)
    except readings.Unreadable as why:
        return Preview(impossible=f"It cannot be evaluated: {why}.")
    made = Preview(step=found[1][0] - found[0][0])
    for subject in sorted({reading.subject for _, each in found for reading in each}):
        nothing = readings.Reading(None)
        seen = [(at, next((one for one in each if one.subject == subject), nothing)) for at, each in found]
        _live(rule, seen, made)
    for at, each in found:
        known = [reading.value for reading in each if reading.value is not None]
        made.points.append((at, max(known, key=lambda value: badness(rule.kind, value), default=None)))
    values = [value for _, value in made.points if value is not None]
    made.worst = shown(rule.kind, max(values, key=lambda value: badness(rule.kind, value))) if values else ""
    return made


def _live(rule: AlertRule, seen: list[tuple[datetime, readings.Reading]], made: Preview) -> None:
    """Go through the day of one subject."""
    state: Open | None = None
    for at, reading in seen:
        deed = decide(
            state,
            breached=readings.too_bad(rule, reading),
            badness=badness(rule.kind, reading.value or 0.0),
            muted=False,
            now=at,
            quiet=timedelta(minutes=rule.quiet),
        )
        if deed is Deed.OPEN:
            made.times += 1
            state = Open(None, 0.0)
        elif deed is Deed.CLOSE:
            state = None
        elif deed is Deed.REST and state:
            state = Open(state.quiet_since or at, state.told)
        elif state:
            state = Open(None, state.told)
        if state:
            made.lasted += made.step
