"""What an evaluation does to an incident: one pure function. Called by dashboard.alerts and by the preview.

An incident opens at the first value that is too bad, goes on while values are too bad, and closes once there was none
for the quiet time. Who is told: at its opening (or, where it was muted then, once it is not any more), whenever it is
twice as bad as when somebody was last told, and at its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from dashboard.alert_kinds import WORSE


class Deed(Enum):
    NOTHING = "nothing"
    OPEN = "open"
    UPDATE = "update"
    TELL = "tell"  # update, and tell now of an opening that was muted
    WORSEN = "worsen"
    REST = "rest"  # it is quiet, but not for long enough
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Open:
    """What counts of an incident that is open. `told`: how bad it was when somebody was last told; None: nobody was."""

    quiet_since: datetime | None
    told: float | None


def decide(state: Open | None, *, breached: bool, badness: float, muted: bool, now: datetime, quiet: timedelta) -> Deed:
    if state is None:
        return Deed.OPEN if breached else Deed.NOTHING
    if not breached:
        return Deed.CLOSE if now - (state.quiet_since or now) >= quiet else Deed.REST
    if muted:
        return Deed.UPDATE
    if state.told is None:
        return Deed.TELL
    return Deed.WORSEN if badness > state.told and badness >= WORSE * state.told else Deed.UPDATE
