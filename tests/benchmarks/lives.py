"""What may become of a message, for the rows that need a table like a real one. Called by weeks; knows no database.

A life is told once, by the project's own fold and counters, at time zero. Each message copies one, moved to its own
time: so a million of them are quickly made, and stand in the tables as the services would have left them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from providers.base import BounceClass, FailureClass
from tracking import counters, ids
from tracking.rows import AttemptRow, MessageRow
from tracking.statuses import Attempt, Decision, Fact, FactKind, Status, fold, learn

ZERO = datetime(2024, 1, 1, tzinfo=UTC)
RETRIES = (0.1, 2.0, 7.0, 18.0, 41.0)  # seconds from a message's making to the start of its attempts


class Slot(str):
    """A cell that each message fills in: 0 its key, 1 recipient, 2 external id, 3 batch; times follow."""


MESSAGE = (
    *("id", "project_id", "account_id", "batch_id", "channel", "recipient", "external_id", "category", "template_id"),
    *(
        "tags",
        "priority",
        "status",
        "reason",
        "sent_at",
        "delivered_at",
        "read_at",
        "failed_at",
        "attempts",
        "decision",
    ),
    *("decisions", "decided_after", "budget_from", "operator_retries", "leg", "reference"),
)
_HANDOVER = ("message_id", "number", "account_id", "leg", "idempotency_key", "started_at", "finished_at", "reference")
ATTEMPT = (*_HANDOVER, *Attempt._fields[1:])
EVENT = (
    *("message_id", "dedupe_key", "kind", "attempt", "number", "occurred_at", "recorded_at", "source", "account_id"),
    *("failure", "bounce", "machine", "code", "text"),
)


class Sender(NamedTuple):
    """One kind of traffic: a project's messages through one account."""

    project_id: int
    account_id: int
    channel: str
    weight: float
    category: str = ""
    template: str = ""
    tags: tuple[str, ...] = ()
    in_batches: bool = False


class Said(NamedTuple):
    """A fact, so many seconds after the attempt's start; longer in some lives than in others."""

    kind: FactKind
    after: float
    failure: FailureClass | None = None
    bounce: BounceClass | None = None
    code: str = ""
    text: str = ""
    machine: bool = False


class Outcome(NamedTuple):
    weight: float  # per cent
    attempts: Sequence[Sequence[Said]]
    ending: Decision | None = None


_TAKEN, _ARRIVED = Said(FactKind.ACCEPTED, 0.2), Said(FactKind.DELIVERED, 3)
_BUSY = Said(FactKind.FAILED, 0.3, FailureClass.TEMPORARY, None, "421", "try again later")
_THROTTLED = Said(FactKind.FAILED, 0.1, FailureClass.RATE_LIMIT, None, "429", "too many requests")


def _bounced(bounce: BounceClass, code: str, text: str) -> list[list[Said]]:
    return [[_TAKEN, Said(FactKind.BOUNCED, 4, None, bounce, code, text)]]


def _failed(failure: FailureClass, code: str, text: str) -> list[list[Said]]:
    return [[Said(FactKind.FAILED, 0.3, failure, None, code, text)]]


OUTCOMES = (
    Outcome(68.4, [[_TAKEN, _ARRIVED]]),
    Outcome(14, [[_TAKEN, _ARRIVED, Said(FactKind.OPENED, 900)]]),
    Outcome(3, [[_TAKEN, _ARRIVED, Said(FactKind.OPENED, 5, machine=True)]]),
    Outcome(0.1, [[_TAKEN, _ARRIVED, Said(FactKind.COMPLAINED, 3_000)]]),
    Outcome(3, [[_BUSY], [_TAKEN, _ARRIVED]]),
    Outcome(4, [[_TAKEN]]),
    Outcome(2.5, _bounced(BounceClass.HARD, "5.1.1", "user unknown")),
    Outcome(0.8, _bounced(BounceClass.SOFT, "4.2.2", "mailbox full")),
    Outcome(0.5, _bounced(BounceClass.BLOCK, "5.7.1", "blocked by policy")),
    Outcome(0.9, _failed(FailureClass.INVALID_RECIPIENT, "550", "no such recipient")),
    Outcome(0.6, _failed(FailureClass.PERMANENT, "552", "message too large")),
    Outcome(0.4, _failed(FailureClass.BLOCKED, "554", "rejected as spam")),
    Outcome(0.5, [[_BUSY], [_THROTTLED], [_BUSY], [_BUSY], [_BUSY]], Decision.GIVE_UP),
    Outcome(0.1, [[Said(FactKind.OUTCOME_UNKNOWN, 10, FailureClass.AMBIGUOUS, None, "", "no answer")]]),
    Outcome(0.4, [], Decision.CANCEL),
    Outcome(0.6, [], Decision.SUPPRESS),
    Outcome(0.2, [], Decision.EXPIRE),
)
WAITING = Outcome(0, [])


@dataclass(slots=True)
class Life:
    """Lines for COPY with slots, and what it counts: (milliseconds after the making, dimensions and how, how many)."""

    sender: Sender
    status: Status
    message: str = ""
    attempts: str = ""
    events: str = ""
    moments: list[int] = field(default_factory=list)  # milliseconds after the making, for the slots from 4 on
    counts: list[tuple[int, tuple[Any, ...], int]] = field(default_factory=list)


def tell(sender: Sender, outcome: Outcome, chance: random.Random) -> Life:
    row = MessageRow(
        id=ids.floor(ZERO),
        project_id=sender.project_id,
        channel=sender.channel,
        recipient=Slot("{1}"),
        status=Status.PENDING,
        decision=Decision.QUEUE,
        account_id=sender.account_id,
        template_id=sender.template,
        category=sender.category,
        extra={"tags": sender.tags, "external_id": Slot("{2}"), "batch_id": Slot("{3}") if sender.in_batches else None},
    )
    events = [_decided(row, ZERO)]
    for number, said in enumerate(outcome.attempts, start=1):
        if number > 1:
            events.append(_decide(row, Decision.RETRY, RETRIES[number - 2] + 1))
        events += _attempt(row, number, said, chance)
    if outcome.ending:
        events.append(_decide(row, outcome.ending, 60))
    row.take(fold(row.handovers(), row.decision, row.decided_after))
    return _written(sender, row, events)


def _at(seconds: float) -> datetime:
    """In whole milliseconds, as keys are: a copy must fall into the very minutes that it is counted in."""
    return ZERO + timedelta(milliseconds=int(seconds * 1000))


def _decide(row: MessageRow, decision: Decision, seconds: float) -> dict[str, Any]:
    row.decision, row.decisions, row.decided_after = decision, row.decisions + 1, row.attempts
    return _decided(row, _at(seconds))


def _decided(row: MessageRow, at: datetime) -> dict[str, Any]:
    key = f"decision:{row.decisions}"
    event = {"dedupe_key": key, "kind": row.decision, "attempt": row.attempts, "number": row.decisions}
    return {**event, "occurred_at": at, "recorded_at": at, "source": "dispatch" if row.attempts else "api"}


def _attempt(row: MessageRow, number: int, said: Sequence[Said], chance: random.Random) -> list[dict[str, Any]]:
    """Put a hand-over on record, with what was said of it; its events."""
    started, account = RETRIES[number - 1], row.account_id or 0
    attempt = AttemptRow(row.id, Attempt(number), account, 0, Slot(f"{{0}}:0:{number}"), _at(started))
    row.tries.append(attempt)
    row.attempts = number
    events, slower = [], chance.lognormvariate(0, 1.2)
    for each in said:
        by_receipt = each.after > 1
        at = _at(started + each.after * (slower if by_receipt else 1))
        fact = Fact(each.kind, at, each.failure, each.bounce, each.code, each.text, each.machine)
        attempt.facts = learn(attempt.facts, fact)
        if not by_receipt:
            attempt.finished_at = at
        if each.kind is FactKind.ACCEPTED:
            attempt.reference = row.reference = Slot(f"ref-{{0}}-{number}")
        events.append(
            {
                **{"dedupe_key": f"{number}:{each.kind}", "attempt": number, "account_id": account},
                **{"occurred_at": at, "recorded_at": at, "source": "provider" if by_receipt else "dispatch"},
                **{name: getattr(fact, name) for name in ("kind", "failure", "bounce", "code", "text", "machine")},
            }
        )
    return events


def _written(sender: Sender, row: MessageRow, events: list[dict[str, Any]]) -> Life:
    life = Life(sender, row.status)
    said = {name: getattr(row, name) for name in MESSAGE if hasattr(row, name)} | row.extra
    life.message = _line(life, MESSAGE, said)
    for attempt in row.tries:
        said = {name: getattr(attempt, name) for name in _HANDOVER} | {**attempt.facts._asdict()}
        life.attempts += _line(life, ATTEMPT, said)
    for event in events:
        empty = {"machine": False, "code": "", "text": ""}
        life.events += _line(life, EVENT, {"message_id": row.id, **empty, **event})
    _count(life, row)
    return life


def _count(life: Life, row: MessageRow) -> None:
    of_message = counters.none()
    counters.count_message(row, 1, of_message)
    life.counts = [(0, key[1:], count) for key, count in of_message.items()]
    for attempt in row.tries:
        found = counters.none()
        dimensions = {"project_id": row.project_id, "channel": row.channel, "account_id": attempt.account_id}
        counters.count_attempt(
            attempt.facts,
            started_at=attempt.started_at,
            sign=1,
            into=found,
            **dimensions,  # type: ignore[arg-type]
        )
        life.counts += [(_milliseconds(attempt.started_at), key[1:], count) for key, count in found.items()]


# --- the text format of COPY


def _line(life: Life, columns: Sequence[str], said: dict[str, Any]) -> str:
    return "\t".join(_cell(life, said.get(name)) for name in columns) + "\n"


def _cell(life: Life, value: Any) -> str:
    match value:
        case None:
            return "\\N"
        case Slot():
            return str(value)
        case UUID():
            return "{0}"
        case datetime():
            return f"{{{4 + _place(life, value)}}}"
        case tuple():
            return "{{" + ",".join(value) + "}}"
    return str(value)


def _place(life: Life, moment: datetime) -> int:
    after = _milliseconds(moment)
    if after not in life.moments:
        life.moments.append(after)
    return life.moments.index(after)


def _milliseconds(moment: datetime) -> int:
    return (moment - ZERO) // timedelta(milliseconds=1)
