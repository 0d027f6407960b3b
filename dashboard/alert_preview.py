"""What a rule would have done in the last 24 hours: the same states, over a value each quarter of an hour. Called by
the rule's form. Reads only; the numbers are those of today: what has been delivered since counts as delivered."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dashboard import readings
from dashboard.alert_kinds import badness, shown
from dashboard.incident_state import Deed, Open, decide
from dashboard.models import AlertRule
from tracking.counters import floor

STEP = timedelta(minutes=15)
STEPS = 96  # of a day


@dataclass(slots=True)
class Preview:
    points: list[tuple[datetime, float | None]] = field(default_factory=list)  # the worst of its subjects
    times: int = 0
    lasted: timedelta = timedelta()  # with its quiet time
    worst: str = ""
    impossible: str = ""

    @property
    def seconds(self) -> float:
        return self.lasted.total_seconds()


def preview(rule: AlertRule, now: datetime) -> Preview:
    if not rule.shape.metric:
        return Preview(impossible="What the queue was like is not kept: there is no preview for this kind of rule.")
    last = floor(now, STEP)
    ends = [last - STEP * place for place in range(STEPS - 1, -1, -1)]
    try:
        found = readings.series(rule, ends)
    except readings.Unreadable as why:
        return Preview(impossible=f"It cannot be evaluated: {why}.")
    made = Preview()
    subjects = {reading.subject for each in found for reading in each}
    for subject in sorted(subjects):
        seen = [next((one for one in each if one.subject == subject), readings.Reading(None)) for each in found]
        _live(rule, list(zip(ends, seen, strict=True)), made)
    values = [[one for one in each if one.value is not None] for each in found]
    for end, each in zip(ends, values, strict=True):
        made.points.append(
            (end, max((one.value for one in each), key=lambda v: badness(rule.kind, v or 0), default=None))
        )
    known = [value for _, value in made.points if value is not None]
    made.worst = shown(rule.kind, max(known, key=lambda value: badness(rule.kind, value))) if known else ""
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
            made.lasted += STEP
