"""From recorded facts to a status: pure functions, no ORM, no clock. Only `record` writes the result.

Two steps, both independent of the order in which facts arrive:

1. `learn` joins one fact into what is known of an attempt. Every field only moves one way (earliest time, gravest
   cause), so any order and any repetition of the same facts ends equal.
2. `fold` reads the attempts and the last decision of a message and gives its status (docs/statuses.md has the table).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from providers.base import BounceClass, FailureClass, ReceiptKind


class Status(enum.StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    BOUNCED = "bounced"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


OPEN = frozenset({Status.PENDING, Status.PROCESSING, Status.SENT})
RETRYABLE_BY_HAND = frozenset({Status.FAILED, Status.BOUNCED, Status.UNKNOWN})


class Reason(enum.StrEnum):
    """Why a message failed, beside the failure classes."""

    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    REJECTED = "rejected"
    EXHAUSTED = "attempts_exhausted"


class Decision(enum.StrEnum):
    """What was decided about a message. Decisions are made one at a time under the message's lock and numbered."""

    QUEUE = "queued"
    FOLLOW = "followed"  # nothing is sent (any more): it is sent elsewhere, or a late receipt made the retry needless
    RETRY = "retry_scheduled"
    NEXT_LEG = "next_leg"
    OPERATOR_RETRY = "operator_retry"
    GIVE_UP = "gave_up"
    CANCEL = "cancelled"
    EXPIRE = "expired"
    SUPPRESS = "suppressed"
    REJECT = "rejected"


SEND_WANTED = frozenset({Decision.QUEUE, Decision.RETRY, Decision.NEXT_LEG, Decision.OPERATOR_RETRY})
DECISION_REASON = {
    Decision.GIVE_UP: Reason.EXHAUSTED,
    Decision.EXPIRE: Reason.EXPIRED,
    Decision.SUPPRESS: Reason.SUPPRESSED,
    Decision.REJECT: Reason.REJECTED,
}

# The gravest cause is the one that an attempt shows; equal ones are told apart by time, then by code and text.
BOUNCE_RANK = {
    BounceClass.HARD: 0,
    BounceClass.BLOCK: 1,
    BounceClass.ADMIN: 2,
    BounceClass.SOFT: 3,
    BounceClass.UNDETERMINED: 4,
}
FAILURE_RANK = {
    FailureClass.INVALID_RECIPIENT: 0,
    FailureClass.BLOCKED: 1,
    FailureClass.PERMANENT: 2,
    FailureClass.RATE_LIMIT: 3,
    FailureClass.TIMEOUT: 4,
    FailureClass.TEMPORARY: 5,
    FailureClass.AMBIGUOUS: 6,
}


class FactKind(enum.StrEnum):
    """Facts about an attempt: what a provider can report, and what our own call learned beside it."""

    ACCEPTED = ReceiptKind.ACCEPTED.value
    DEFERRED = ReceiptKind.DEFERRED.value
    DELIVERED = ReceiptKind.DELIVERED.value
    BOUNCED = ReceiptKind.BOUNCED.value
    FAILED = ReceiptKind.FAILED.value
    OPENED = ReceiptKind.OPENED.value
    CLICKED = ReceiptKind.CLICKED.value
    READ = ReceiptKind.READ.value
    COMPLAINED = ReceiptKind.COMPLAINED.value
    UNSUBSCRIBED = ReceiptKind.UNSUBSCRIBED.value
    OTHER = ReceiptKind.OTHER.value
    OUTCOME_UNKNOWN = "outcome_unknown"


class Fact(NamedTuple):
    """One thing learned about an attempt. These and the next are tuples: thousands are made and compared a second."""

    kind: FactKind
    at: datetime  # clamped to [attempt start, received + 5 min]
    failure: FailureClass | None = None
    bounce: BounceClass | None = None
    code: str = ""
    text: str = ""
    machine: bool = False


class Attempt(NamedTuple):
    """What is known of one hand-over. Times are the earliest of their kind, but that of hard bounces the latest: one of
    them may have come after a delivery."""

    number: int
    accepted_at: datetime | None = None
    delivered_at: datetime | None = None
    opened_at: datetime | None = None
    clicked_at: datetime | None = None
    read_at: datetime | None = None
    machine_opened_at: datetime | None = None
    hard_bounced_at: datetime | None = None
    bounced_at: datetime | None = None
    failed_at: datetime | None = None
    unknown_at: datetime | None = None
    complained_at: datetime | None = None
    unsubscribed_at: datetime | None = None
    failure: FailureClass | None = None
    bounce: BounceClass | None = None
    cause_at: datetime | None = None
    code: str = ""
    text: str = ""


class Folded(NamedTuple):
    """The public face of a message."""

    status: Status
    reason: str = ""  # of a failed message: a failure class or a Reason; of a bounced one: its bounce class
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    read_at: datetime | None = None
    failed_at: datetime | None = None


_CAUSE = ("failure", "bounce", "cause_at", "code", "text")
_TIMES = tuple(name for name in Attempt._fields if name.endswith("_at") and name not in _CAUSE)

# kind → the fields whose earliest time it may move. A delivery proves that the provider took the message, an open that
# it was delivered; so sent_at <= delivered_at <= read_at holds whatever arrived first.
_HUMAN = ("accepted_at", "delivered_at", "read_at")
_MOVES: dict[FactKind, tuple[str, ...]] = {
    FactKind.ACCEPTED: ("accepted_at",),
    FactKind.DEFERRED: ("accepted_at",),
    FactKind.DELIVERED: ("accepted_at", "delivered_at"),
    FactKind.BOUNCED: ("bounced_at",),
    FactKind.FAILED: ("failed_at",),
    FactKind.OPENED: (*_HUMAN, "opened_at"),
    FactKind.CLICKED: (*_HUMAN, "clicked_at"),
    FactKind.READ: _HUMAN,
    FactKind.COMPLAINED: ("complained_at",),
    FactKind.UNSUBSCRIBED: ("unsubscribed_at",),
    FactKind.OTHER: (),
    FactKind.OUTCOME_UNKNOWN: ("unknown_at",),
}
# A prefetcher, privacy proxy or scanner opened it: that proves that the provider took the message, and nothing more.
_MACHINE_MOVES = dict.fromkeys((FactKind.OPENED, FactKind.CLICKED, FactKind.READ), ("accepted_at", "machine_opened_at"))


def learn(attempt: Attempt, fact: Fact) -> Attempt:
    """Join one fact into an attempt: commutative, associative, idempotent."""
    kind, at = fact.kind, fact.at
    moves = _MACHINE_MOVES.get(kind, _MOVES[kind]) if fact.machine else _MOVES[kind]
    changes: dict[str, Any] = {name: at for name in moves if (known := getattr(attempt, name)) is None or at < known}
    if kind is FactKind.BOUNCED or kind is FactKind.FAILED:
        changes |= _cause(attempt, fact)
    return attempt._replace(**changes) if changes else attempt


def _cause(attempt: Attempt, fact: Fact) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    bounce = (fact.bounce or BounceClass.UNDETERMINED) if fact.kind is FactKind.BOUNCED else None
    if bounce is BounceClass.HARD and (attempt.hard_bounced_at is None or fact.at > attempt.hard_bounced_at):
        changes["hard_bounced_at"] = fact.at
    new = _gravity(bounce, fact.failure, fact.at, fact.code, fact.text)
    if attempt.cause_at is None or new < _gravity_of(attempt):
        changes |= {
            "failure": fact.failure,
            "bounce": bounce,
            "cause_at": fact.at,
            "code": fact.code,
            "text": fact.text,
        }
    return changes


def _gravity(
    bounce: BounceClass | None, failure: FailureClass | None, at: datetime, code: str, text: str
) -> tuple[int, int, datetime, str, str]:
    return (
        BOUNCE_RANK[bounce] if bounce else len(BOUNCE_RANK),
        FAILURE_RANK[failure] if failure else len(FAILURE_RANK),
        at,
        code,
        text,
    )


def join(one: Attempt, other: Attempt) -> Attempt:
    """All that is known of two attempts which were one hand-over to the provider; the number is the first one's."""
    causes = [each for each in (one, other) if each.cause_at]
    gravest = min(causes, key=_gravity_of) if causes else one
    known: dict[str, Any] = {name: getattr(gravest, name) for name in _CAUSE}
    known |= {name: _earliest([getattr(one, name), getattr(other, name)]) for name in _TIMES}
    known["hard_bounced_at"] = max(filter(None, (one.hard_bounced_at, other.hard_bounced_at)), default=None)
    return one._replace(**known)


def _gravity_of(attempt: Attempt) -> tuple[int, int, datetime, str, str]:
    assert attempt.cause_at is not None
    return _gravity(attempt.bounce, attempt.failure, attempt.cause_at, attempt.code, attempt.text)


def attempt_status(attempt: Attempt) -> Status:
    """The status of one hand-over: a function of its facts alone."""
    if attempt.read_at:
        return Status.READ
    bounced_afterwards = (
        attempt.hard_bounced_at and attempt.delivered_at and attempt.hard_bounced_at >= attempt.delivered_at
    )
    if attempt.delivered_at and not bounced_afterwards:
        return Status.DELIVERED
    if attempt.bounced_at:
        return Status.BOUNCED
    if attempt.failed_at:
        return Status.FAILED
    if attempt.accepted_at:
        return Status.SENT
    return Status.UNKNOWN if attempt.unknown_at else Status.PROCESSING


def fold(attempts: Sequence[Attempt], decision: Decision, decided_after: int, abandoned: int = 0) -> Folded:
    """The status of a message.

    `attempts`: all of them, in the order of their numbers. `decision`: the last one; `decided_after`: how many attempts
    there were when it was made, so that a decision to send is spent once the next attempt is on record. `abandoned`:
    how many of them belong to legs before the present one: nobody waits for those any more, but a delivery counts.
    """
    statuses = [attempt_status(attempt) for attempt in attempts]
    status = _status(statuses, decision, decided_after, abandoned)
    last = attempts[-1] if attempts else None
    ended = last if status in (Status.FAILED, Status.BOUNCED) else None
    arrived = [a.delivered_at for a, s in zip(attempts, statuses, strict=True) if s in (Status.DELIVERED, Status.READ)]
    return Folded(
        status,
        _reason(status, last, decision),
        sent_at=_earliest([attempt.accepted_at for attempt in attempts]),
        delivered_at=_earliest(arrived),
        read_at=_earliest([attempt.read_at for attempt in attempts]),
        failed_at=_earliest([ended.bounced_at, ended.failed_at]) if ended else None,
    )


def _status(statuses: Sequence[Status], decision: Decision, decided_after: int, abandoned: int) -> Status:
    for final in (Status.READ, Status.DELIVERED):
        if final in statuses:
            return final
    current = statuses[abandoned:]
    for running in (Status.SENT, Status.PROCESSING):
        if running in current:
            return running
    if decision in SEND_WANTED and decided_after >= len(statuses):
        return Status.PENDING
    if Status.UNKNOWN in current:
        return Status.UNKNOWN
    if decision is Decision.CANCEL:
        return Status.CANCELLED
    if decision is Decision.FOLLOW and not statuses:  # nobody has said yet that it was handed over
        return Status.PENDING
    return Status.BOUNCED if statuses and statuses[-1] is Status.BOUNCED else Status.FAILED


def _reason(status: Status, last: Attempt | None, decision: Decision) -> str:
    if status is Status.BOUNCED and last:
        return last.bounce or BounceClass.UNDETERMINED
    if status is not Status.FAILED:
        return ""
    if decision in DECISION_REASON:
        return DECISION_REASON[decision]
    if last is None:
        return Reason.REJECTED
    return last.failure or FailureClass.PERMANENT


def _earliest(times: Sequence[datetime | None]) -> datetime | None:
    return min([time for time in times if time], default=None)
