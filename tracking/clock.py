"""How far this process's clock is from the database's. Called by submit, whose ids carry the application's time."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django.db import connection

TOLERANCE = 60.0  # seconds
KEPT = 60.0  # seconds for which a good result is believed

_good_until = 0.0


class ClockWrong(Exception):
    """Messages made now would stand under a wrong time."""


def check() -> None:
    """Asks the database once a minute. Raises ClockWrong."""
    global _good_until
    if time.monotonic() < _good_until:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (theirs,) = cursor.fetchone()
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    if skew > TOLERANCE:
        raise ClockWrong(
            f"the application's clock and the database's are {skew:.0f} s apart; {TOLERANCE:.0f} are allowed"
        )
    _good_until = time.monotonic() + KEPT


def forget() -> None:
    global _good_until
    _good_until = 0.0
