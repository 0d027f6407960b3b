"""What is counted, and the one pure function that says how much a row counts.

`record` appends contribution(after) − contribution(before); the recount (`check_invariants`) adds up contributions of
the rows as they stand. Both use the functions here, so they can only differ where a row was changed behind `record`.

Counters of the message cohort (bucket: the minute of creation), exclusive but for `created` and `read`:
  created, sent (handed to a provider at least once), delivered (read ones too), read, failed, bounced, unknown,
  in_flight, and, for messages never handed over: pending, cancelled, suppressed, expired, rejected (cancelled after an
  attempt: that one failed, so the message counts as failed);
  delivery_ms and timed: sum of delivered_at − sent_at in milliseconds, and how many messages are in it.
Counters of the attempt cohort (bucket: the minute of its start): started, accepted, delivered, bounced, failed,
  unknown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol
from uuid import UUID

from tracking import ids
from tracking.statuses import Attempt, Reason, Status, attempt_status


class Bucket(NamedTuple):
    """The dimensions that a counter is kept for."""

    cohort: str
    minute: datetime
    project_id: int
    channel: str
    account_id: int | None
    failure: str = ""
    bounce: str = ""


Deltas = defaultdict[Bucket, Counter[str]]  # bucket → counter → change


def none() -> Deltas:
    return defaultdict(Counter)


class MessageFacts(Protocol):
    """The columns of a message that are counted."""

    id: UUID
    project_id: int
    channel: str
    account_id: int | None
    status: Status
    reason: str
    sent_at: datetime | None
    delivered_at: datetime | None
    attempts: int


_HANDED_OVER = {
    Status.DELIVERED: ("delivered",),
    Status.READ: ("delivered", "read"),
    Status.FAILED: ("failed",),
    Status.BOUNCED: ("bounced",),
    Status.UNKNOWN: ("unknown",),
    Status.CANCELLED: ("failed",),
}
_NEVER_HANDED_OVER = {Status.PENDING: "pending", Status.CANCELLED: "cancelled"}
_BEFORE_ANY_ATTEMPT = {Reason.SUPPRESSED: "suppressed", Reason.EXPIRED: "expired"}


def count_message(message: MessageFacts, sign: int, into: Deltas) -> None:
    """Add (or take away) what one message contributes."""
    failed, bounced = message.status is Status.FAILED, message.status is Status.BOUNCED
    bucket = Bucket(
        "message",
        _minute(ids.milliseconds(message.id) // 60_000),
        message.project_id,
        message.channel,
        message.account_id,
        message.reason if failed else "",
        message.reason if bounced else "",
    )
    counts = into[bucket]
    counts["created"] += sign
    for counter in _counters(message):
        counts[counter] += sign
    if message.delivered_at and message.sent_at:
        counts["delivery_ms"] += sign * int((message.delivered_at - message.sent_at).total_seconds() * 1000)
        counts["timed"] += sign


def _counters(message: MessageFacts) -> tuple[str, ...]:
    if message.attempts:
        return ("sent", *_HANDED_OVER.get(message.status, ("in_flight",)))
    if message.status in _NEVER_HANDED_OVER:
        return (_NEVER_HANDED_OVER[message.status],)
    return (_BEFORE_ANY_ATTEMPT.get(Reason(message.reason), "rejected"),) if message.status is Status.FAILED else ()


_ATTEMPT = {
    Status.SENT: ("accepted",),
    Status.DELIVERED: ("accepted", "delivered"),
    Status.READ: ("accepted", "delivered"),
    Status.BOUNCED: ("bounced",),
    Status.FAILED: ("failed",),
    Status.UNKNOWN: ("unknown",),
}


def count_attempt(
    attempt: Attempt, *, started_at: datetime, project_id: int, channel: str, account_id: int, sign: int, into: Deltas
) -> None:
    status = attempt_status(attempt)
    bucket = Bucket(
        "attempt",
        _minute(int(started_at.timestamp()) // 60),
        project_id,
        channel,
        account_id,
        (attempt.failure or "") if status is Status.FAILED else "",
        (attempt.bounce or "") if status is Status.BOUNCED else "",
    )
    counts = into[bucket]
    counts["started"] += sign
    for counter in _ATTEMPT.get(status, ()):
        counts[counter] += sign


@lru_cache(maxsize=4096)
def _minute(number: int) -> datetime:
    """The start of a minute; the same object each time, so that its hash is there already."""
    return datetime.fromtimestamp(number * 60, UTC)


def by_bucket(deltas: Deltas) -> dict[Bucket, dict[str, int]]:
    """Only what really changed, ready to be stored or compared."""
    found = {bucket: {name: n for name, n in counts.items() if n} for bucket, counts in deltas.items()}
    return {bucket: counts for bucket, counts in found.items() if counts}


def add(rows: Iterable[tuple[Bucket, dict[str, int]]], into: Deltas) -> None:
    """Add up what is stored."""
    for bucket, counts in rows:
        into[bucket].update(counts)
