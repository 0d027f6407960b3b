"""What is counted, and the pure functions that say how much a row counts. Called by record, rollups and the recount.

`record` appends contribution(after) − contribution(before); the recount (`check_invariants`, `rebuild_metrics`) adds up
contributions of the rows as they stand. Both use the functions here, so they can only differ where a row was changed
behind `record`. docs/metrics.md says what each counter means.

Messages are counted in the minute in which they were made, attempts in the minute in which they started.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


def latency_bin(milliseconds: int) -> int:
    return bisect_right(_EDGES_MS, milliseconds)


_SLOW_BIN = {channel: latency_bin(seconds * 1000) for channel, seconds in SLOW_AFTER.items()}


# --- the names of the counters, which are the columns of the rollups

FAILURES = (*(each.value for each in FailureClass), *(each.value for each in Reason), "cancelled")
BOUNCES = tuple(each.value for each in BounceClass)
OUTCOMES = ("delivered", "failed", "bounced", "unknown", "in_flight")  # of what was sent: exclusive
IN_FLIGHT = ("processing", "waiting_again")  # parts of what is in flight; the rest is with the provider
NEVER_SENT = ("pending", "cancelled", "suppressed", "expired", "rejected")  # exclusive
MARKS = ("read", "opened", "machine_opened", "clicked", "complained", "unsubscribed")  # distinct messages
TIMES = ("timed", "late", "delivery_ms")
MESSAGES = ("created", "sent", *OUTCOMES, *IN_FLIGHT, *NEVER_SENT, *MARKS, *TIMES)
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
# What a batch of rows contributes, not spelled out yet: most of them are alike, so that (where, how they stand) → how
# many is one addition for each. Where: minute since 1970 and the other dimensions; how: arguments of `_counters`.
Deltas = defaultdict[tuple[Any, ...], int]


def none() -> Deltas:
    return defaultdict(int)


# --- messages


class Handover(Protocol):
    @property
    def facts(self) -> Attempt: ...


class MessageFacts(Protocol):
    """The columns of a message that are counted, and its attempts."""

    id: UUID
    project_id: int
    channel: str
    account_id: int | None
    status: Status
    reason: str
    sent_at: datetime | None
    delivered_at: datetime | None
    attempts: int
    template_id: str
    category: str

    @property
    def tries(self) -> Sequence[Handover]: ...


def count_message(message: MessageFacts, sign: int, into: Deltas) -> None:
    """Add (or take away) what one message contributes."""
    minute, project, channel = ids.milliseconds(message.id) // 60_000, message.project_id, message.channel
    took, latency = None, None
    if message.delivered_at and message.sent_at:
        took = (message.delivered_at - message.sent_at) // _MILLISECOND
        latency = latency_bin(took)
    how = (message.status, message.reason, message.attempts > 0, _marks(message.tries), latency)
    into[minute, project, channel, message.account_id, "", "", how] += sign
    if took:
        into[minute, project, channel, message.account_id, "", "", None] += sign * took
    if message.template_id or message.category:
        for kind, label in (("template", message.template_id), ("category", message.category)):
            if label:
                into[minute, project, channel, None, kind, label, how] += sign
                if took:
                    into[minute, project, channel, None, kind, label, None] += sign * took


_MILLISECOND = timedelta(milliseconds=1)


def _marks(tries: Sequence[Handover]) -> tuple[str, ...]:
    """What recipients and machines did with it, beside reading it; most messages have nothing of it."""
    marks: tuple[str, ...] = ()
    for facts in [attempt.facts for attempt in tries]:
        if facts.read_at or facts.machine_opened_at or facts.complained_at or facts.unsubscribed_at:
            marks += tuple(name for name, field in _MARK_FIELDS if getattr(facts, field) and name not in marks)
    return marks


_MARK_FIELDS = (
    ("opened", "opened_at"),
    ("machine_opened", "machine_opened_at"),
    ("clicked", "clicked_at"),
    ("complained", "complained_at"),
    ("unsubscribed", "unsubscribed_at"),
)
_SENT = {
    Status.PENDING: ("in_flight", "waiting_again"),
    Status.PROCESSING: ("in_flight", "processing"),
    Status.DELIVERED: ("delivered",),
    Status.READ: ("delivered", "read"),
    Status.FAILED: ("failed",),
    Status.BOUNCED: ("bounced",),
    Status.UNKNOWN: ("unknown",),
    Status.CANCELLED: ("failed", "failed_cancelled"),  # one whose retry waited
}
_NEVER_SENT = {Status.PENDING: "pending", Status.CANCELLED: "cancelled"}
_BEFORE_ANY_ATTEMPT = {Reason.SUPPRESSED: "suppressed", Reason.EXPIRED: "expired"}


@lru_cache(maxsize=4096)
def _message_counters(
    channel: str, status: Status, reason: str, sent: bool, marks: tuple[str, ...], latency: int | None
) -> tuple[str, ...]:
    """The counters in which a message in this state counts one."""
    names = ["created", *marks]
    if sent:
        names += ("sent", *_SENT.get(status, ("in_flight",)))
        if status is Status.FAILED or status is Status.BOUNCED:
            names.append(f"{status}_{reason}")
    elif status in _NEVER_SENT:
        names.append(_NEVER_SENT[status])
    elif status is Status.FAILED:
        names.append(_BEFORE_ANY_ATTEMPT.get(Reason(reason), "rejected"))
    if latency is not None:
        names += ("timed", LATENCY[latency])
        if latency >= _SLOW_BIN[channel]:
            names.append("late")
    return tuple(names)


# --- attempts


def count_attempt(
    attempt: Attempt, *, started_at: datetime, project_id: int, channel: str, account_id: int, sign: int, into: Deltas
) -> None:
    """Add (or take away) what one attempt contributes."""
    minute = int(started_at.timestamp()) // 60
    how = (attempt_status(attempt), attempt.failure, attempt.bounce, bool(attempt.accepted_at), receipted(attempt))
    into[minute, project_id, channel, account_id, "", "", how] += sign


def receipted(attempt: Attempt) -> bool:
    """A receipt said more of it than that it was accepted or put off. Our own call never says these things."""
    return bool(
        attempt.delivered_at
        or attempt.bounced_at
        or attempt.machine_opened_at
        or attempt.complained_at
        or attempt.unsubscribed_at
        or (attempt.failed_at and attempt.accepted_at)
    )


_ATTEMPT = {
    Status.DELIVERED: "attempts_delivered",
    Status.READ: "attempts_delivered",
    Status.FAILED: "attempts_failed",
    Status.BOUNCED: "attempts_bounced",
    Status.UNKNOWN: "attempts_unknown",
}


@lru_cache(maxsize=4096)
def _attempt_counters(
    status: Status, failure: FailureClass | None, bounce: BounceClass | None, accepted: bool, receipt: bool
) -> tuple[str, ...]:
    names = ["attempts_started"]
    if accepted or receipt:
        names.append("attempts_accepted")
    if receipt:
        names.append("attempts_receipted")
    if status in _ATTEMPT:
        names.append(_ATTEMPT[status])
    if status is Status.FAILED:
        names.append(f"attempts_failed_{failure or FailureClass.PERMANENT}")
    if status is Status.BOUNCED:
        names.append(f"attempts_bounced_{bounce or BounceClass.UNDETERMINED}")
    return tuple(names)


# --- sums


def by_bucket(deltas: Deltas) -> Counts:
    """Only what really changed, spelled out: ready to be stored or compared."""
    found: dict[tuple[Any, ...], dict[str, int]] = {}
    for key, count in deltas.items():
        if count:
            counts = found.setdefault(key[:-1], {})
            for name in _counters(key[2], key[-1]):
                counts[name] = counts.get(name, 0) + count
    return _without_zeros({Bucket(_minute(key[0]), *key[1:]): counts for key, counts in found.items()})


def _counters(channel: str, how: tuple[Any, ...] | None) -> tuple[str, ...]:
    if how is None:
        return ("delivery_ms",)
    if isinstance(how[2], bool):
        return _message_counters(channel, *how)
    return _attempt_counters(*how)


def add(rows: Iterable[tuple[Bucket, Mapping[str, int]]], width: timedelta = timedelta(minutes=1)) -> Counts:
    """Add up what is stored, in buckets of that width."""
    found: dict[Bucket, dict[str, int]] = {}
    for bucket, counts in rows:
        into = found.setdefault(bucket._replace(minute=floor(bucket.minute, width)), {})
        for name, count in counts.items():
            into[name] = into.get(name, 0) + count
    return _without_zeros(found)


def floor(moment: datetime, width: timedelta) -> datetime:
    """The beginning of the bucket that holds a moment. Widths divide a day."""
    return moment - (moment - _EPOCH) % width


def _without_zeros(found: Counts) -> Counts:
    plain = {bucket: {name: count for name, count in counts.items() if count} for bucket, counts in found.items()}
    return {bucket: counts for bucket, counts in plain.items() if counts}


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def _minute(number: int) -> datetime:
    """The start of a minute; the same object each time, so that its hash is there already."""
    return datetime.fromtimestamp(number * 60, UTC)
