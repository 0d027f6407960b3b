"""Rate limits, counted for each key over all processes. Called by the API's throttle.

Windows are the minutes of the clock. A process takes a hundredth of the limit at a time from the key's one row and
serves requests from that: all processes together never serve more than the limit, and one that took the last part and
does not use it withholds no more than that. A limit below 200 is counted one by one.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from django.db import connection

from tracking.models import RateWindow

WINDOW = 60  # seconds
SLICES = 100
KEPT_KEYS = 10_000  # more are not expected; the store is emptied then
_TAKE = """
INSERT INTO rate_window AS w (key, number, taken) VALUES (%s, %s, %s) ON CONFLICT (key) DO UPDATE SET
number = greatest(w.number, excluded.number),
taken = CASE WHEN w.number < excluded.number THEN excluded.taken ELSE w.taken + excluded.taken END
RETURNING taken
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a request found. `remaining` counts what this process knows of; `reset`: seconds since 1970."""

    allowed: bool
    limit: int
    remaining: int
    reset: int

    @property
    def wait(self) -> float:
        return max(1.0, self.reset - time.time())


@dataclass(slots=True)
class _Window:
    """What this process has of a key's minute."""

    number: int
    mine: int = 0  # taken and not used yet
    others: int = 0  # that nobody had taken when the row was last asked
    spent: bool = False


_windows: dict[str, _Window] = {}
_lock = threading.Lock()


def forget() -> None:
    with _lock:
        _windows.clear()


def prune() -> None:
    """Forget keys that nobody uses any more."""
    RateWindow.objects.filter(number__lt=int(time.time() // WINDOW) - 24 * 60).delete()


def take(key: str, limit: int) -> Standing:
    """One request of a key. Asks the database only when what the process has is used up."""
    number = int(time.time() // WINDOW)
    with _lock:
        window = _window(key, number)
        if window.mine:
            window.mine -= 1
            return _standing(True, limit, window)
        if window.spent:
            return _standing(False, limit, window)
    wanted = max(1, limit // SLICES)
    taken = _taken(key, number, wanted)
    granted = max(0, min(wanted, limit - (taken - wanted)))
    with _lock:
        window.others = max(0, limit - taken)
        window.mine += max(0, granted - 1)
        window.spent = window.spent or not granted
        return _standing(granted > 0, limit, window)


def _window(key: str, number: int) -> _Window:
    window = _windows.get(key)
    if window is None or window.number != number:
        if len(_windows) >= KEPT_KEYS:
            _windows.clear()
        window = _windows[key] = _Window(number)
    return window


def _taken(key: str, number: int, wanted: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [key, number, wanted])
        taken: int = cursor.fetchone()[0]
    return taken


def _standing(allowed: bool, limit: int, window: _Window) -> Standing:
    return Standing(allowed, limit, window.mine + window.others, (window.number + 1) * WINDOW)
