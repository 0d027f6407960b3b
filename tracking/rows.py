"""Plain rows of a message and its attempts, as `record` works on them: mutable, small, no ORM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import reduce
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from tracking.parts import Price
from tracking.statuses import SEND_WANTED, Attempt, Decision, Folded, Status, attempt_status, fold, join

ARRIVED = (Status.DELIVERED, Status.READ)
_UNDER_WAY = (Status.SENT, *ARRIVED)

# Decisions about a message without an attempt that say it was ours to send.
_OURS = SEND_WANTED | {Decision.SUPPRESS, Decision.REJECT, Decision.GIVE_UP}


@dataclass(slots=True)
class AttemptRow:
    """A hand-over as it stands in the table: its facts, and what identifies it."""

    message_id: UUID
    facts: Attempt
    account_id: int
    leg: int
    idempotency_key: str
    started_at: datetime
    finished_at: datetime | None = None
    reference: str = ""
    price: Price | None = None  # only the insert knows it

    @property
    def number(self) -> int:
        return self.facts.number

    @property
    def perhaps_taken(self) -> bool:
        """Nothing says that the provider refused it: our own call, where it learned of a failure, ended with it."""
        refused = self.facts.failed_at is not None and self.facts.failed_at == self.finished_at
        return not refused and bool(self.facts.accepted_at or self.facts.unknown_at)

    @property
    def surely_taken(self) -> bool:
        return bool(self.facts.accepted_at or self.facts.bounced_at or self.facts.failed_at)


class Leg(NamedTuple):
    """One of the ways that a message with a fallback may take. Number 0 is the message's own."""

    number: int
    channel: str
    recipient: str
    provider: str = ""  # the account that was asked for
    ttl: int | None = None  # seconds that the leg before it has for delivering


@dataclass(slots=True)
class MessageRow:
    """The part of a message that decides its fate."""

    id: UUID
    project_id: int
    channel: str
    recipient: str
    status: Status
    decision: Decision
    account_id: int | None = None
    reason: str = ""
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    read_at: datetime | None = None
    failed_at: datetime | None = None
    attempts: int = 0
    decisions: int = 1
    decided_after: int = 0
    budget_from: int = 0
    operator_retries: int = 0
    leg: int = 0
    reference: str = ""
    priority: int = 5
    expires_at: datetime | None = None
    retry: dict[str, Any] | None = None
    template_id: str = ""
    category: str = ""
    fallbacks: int = 0  # legs behind the first one
    extra: dict[str, Any] = field(default_factory=dict)  # columns that only the insert knows
    tries: list[AttemptRow] = field(default_factory=list)
    legs: list[Leg] = field(default_factory=list)  # only of a message with a fallback

    @property
    def budget_used(self) -> int:
        """Attempts since the last operator's retry, or since the leg was taken."""
        return self.attempts - self.budget_from

    @property
    def send_wanted(self) -> bool:
        """The last decision was to send, and no attempt has followed it yet."""
        return self.decision in SEND_WANTED and self.decided_after >= self.attempts

    @property
    def abandoned(self) -> int:
        """How many attempts belong to legs before the present one."""
        return sum(attempt.leg < self.leg for attempt in self.tries) if self.leg else 0

    def address(self, leg: int | None = None) -> tuple[str, str]:
        """Channel and recipient of a leg; of the present one where none is named."""
        number = self.leg if leg is None else leg
        found = next((each for each in self.legs if each.number == number), None)
        return (found.channel, found.recipient) if found else (self.channel, self.recipient)

    def due_legs(self, begun: datetime) -> list[tuple[UUID, int, datetime]]:
        """When the leg behind the present one, which began then, is to be taken."""
        following = [(leg.number, leg.ttl) for leg in self.legs if leg.number == self.leg + 1 and leg.ttl]
        return [(self.id, number, begun + timedelta(seconds=ttl)) for number, ttl in following]

    @property
    def delivered_twice(self) -> bool:
        """A leg that was abandoned arrived all the same, and a later one is with its provider too."""
        if not self.fallbacks:
            return False
        states = [(attempt.leg, attempt_status(attempt.facts)) for attempt in self.tries]
        first = min((leg for leg, state in states if state in ARRIVED), default=None)
        return first is not None and any(leg > first and state in _UNDER_WAY for leg, state in states)

    def leg_folded(self, number: int) -> Folded | None:
        """What became of one leg; None: nothing was ever sent by it."""
        tries = zip(self.tries, self.handovers(), strict=True)
        mine = [facts for attempt, facts in tries if attempt.leg == number]
        if number == self.leg:
            return fold(mine, self.decision, len(mine) if self.send_wanted else -1)
        return fold(mine, Decision.FOLLOW, -1) if mine else None

    def attempt(self, number: int) -> AttemptRow | None:
        return self.tries[number - 1] if 0 < number <= len(self.tries) else None

    def folded(self) -> Folded:
        """What its attempts and its last decision say."""
        return fold(self.handovers(), self.decision, self.decided_after, self.abandoned)

    def handovers(self) -> list[Attempt]:
        """The attempts as the fold reads them. One whose outcome is unknown and the repetitions with its idempotency
        key are one hand-over to the provider, once any of them shows that the provider has it."""
        found = [attempt.facts for attempt in self.tries]
        if len(found) > 1:
            for places in self._repeated():
                known = reduce(join, (found[place] for place in places))
                for place in places:
                    found[place] = known._replace(number=found[place].number)
        return found

    def _repeated(self) -> Iterator[list[int]]:
        """The places of those that are one."""
        for key in {attempt.idempotency_key for attempt in self.tries if attempt.facts.unknown_at} - {""}:
            tries = [attempt for attempt in self.tries if attempt.idempotency_key == key and attempt.perhaps_taken]
            while tries and not tries[0].facts.unknown_at:
                tries.pop(0)
            if len(tries) > 1 and any(attempt.surely_taken for attempt in tries):
                yield [attempt.number - 1 for attempt in tries]

    @property
    def elsewhere(self) -> bool:
        """Others send it: its hand-overs, if any, have no key of ours."""
        return not self.tries[0].idempotency_key if self.tries else self.decision not in _OURS

    def snapshot(self) -> MessageRow:
        """As it stands now, to be compared with later."""
        copy = MessageRow(*_MESSAGE_VALUES(self))
        copy.tries = [AttemptRow(*_ATTEMPT_VALUES(attempt)) for attempt in self.tries]
        return copy

    def take(self, folded: Folded) -> None:
        self.status, self.reason = folded.status, folded.reason
        self.sent_at, self.delivered_at = folded.sent_at, folded.delivered_at
        self.read_at, self.failed_at = folded.read_at, folded.failed_at


# dataclasses.replace takes three times as long, for each message of each batch
_MESSAGE_VALUES = attrgetter(*(each.name for each in fields(MessageRow)))
_ATTEMPT_VALUES = attrgetter(*(each.name for each in fields(AttemptRow)))
