"""What is counted, and the one pure function that says how much a row counts. Called by record, rollups and the recount.

`record` appends contribution(after) − contribution(before); the recount (`check_invariants`, `rebuild_metrics`) adds up
contributions of the rows as they stand. Both use the functions here, so they can only differ where a row was changed
behind `record`. docs/metrics.md says what each counter means.

Messages are counted in the minute in which they were made, attempts in the minute in which they started.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from providers.base import BounceClass, FailureClass
from tracking import ids
from tracking.statuses import Attempt, Reason, Status, attempt_status

# --- latency: seconds from sent_at to delivered_at, in bins of equal ratio

PER_FIVEFOLD = 9  # bins from t to 5 t: a bin's geometric middle is at most 9.4 % from anything in it
_BELOW, _ABOVE = 40, 52  # bins below and above one minute: 47 ms to 7.6 days
EDGES = tuple(60 * 5 ** (place / PER_FIVEFOLD) for place in range(-_BELOW, _ABOVE + 1))  # seconds
LATENCY_ERROR = 5 ** (1 / (2 * PER_FIVEFOLD)) - 1
LATENCY = tuple(f"latency_{place:02}" for place in range(len(EDGES) + 1))  # the first and the last are open
SLOW_AFTER = {"email": 300, "sms": 60, "push": 60, "chat": 60}  # seconds: each is an edge

_EDGES_MS = tuple(round(edge * 1000) for edge in EDGES)
_SLOW_AFTER_MS = {channel: seconds * 1000 for channel, seconds in SLOW_AFTER.items()}


def latency_bin(milliseconds: int) -> int:
    return bisect_right(_EDGES_MS, milliseconds)


# --- the names of the counters, which are the columns of the rollups

FAILURES = (*(each.value for each in FailureClass), *(each.value for each in Reason), "cancelled")
BOUNCES = tuple(each.value for each in BounceClass)
OUTCOMES = ("delivered", "failed", "bounced", "unknown", "in_flight")  # of what was sent: exclusive
NEVER_SENT = ("pending", "cancelled", "suppressed", "expired", "rejected")  # exclusive
MARKS = ("read", "opened", "machine_opened", "clicked", "complained", "unsubscribed")  # distinct messages
TIMES = ("timed", "late", "delivery_ms")
MESSAGES = ("created", "sent", *OUTCOMES, *NEVER_SENT, *MARKS, *TIMES)
MESSAGE_CLASSES = (*(f"failed_{each}" for each in FAILURES), *(f"bounced_{each}" for each in BOUNCES))
ATTEMPTS = tuple(
    f"attempts_{each}" for each in ("started", "accepted", "receipted", "delivered", "failed", "bounced", "unknown")
)
ATTEMPT_CLASSES = (
    *(f"attempts_failed_{each.value}" for each in FailureClass),
    *(f"attempts_bounced_{each}" for each in BOUNCES),
)
COUNTERS = (*MESSAGES, *MESSAGE_CLASSES, *ATTEMPTS, *ATTEMPT_CLASSES, *LATENCY)


class Bucket(NamedTuple):
    """The dimensions that a counter is kept for. Messages also count under their template and their category, there
    without the account: kind `template` or `category`, and its name as the label."""

    minute: datetime
    project_id: int
    channel: str
    account_id: int | None
    kind: str = ""
    label: str = ""


Counts = dict[Bucket, dict[str, int]]  # bucket → counter → how much, without zeros
