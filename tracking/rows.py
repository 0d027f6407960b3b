"""Plain rows of a message and its attempts, as `record` works on them: mutable, small, no ORM."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from tracking.statuses import SEND_WANTED, Attempt, Decision, Folded, Status


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

    @property
    def number(self) -> int:
        return self.facts.number


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
    extra: dict[str, Any] = field(default_factory=dict)  # columns that only the insert knows
    tries: list[AttemptRow] = field(default_factory=list)

    @property
    def budget_used(self) -> int:
        """Attempts since the last operator's retry."""
        return self.attempts - self.budget_from

    @property
    def send_wanted(self) -> bool:
        """The last decision was to send, and no attempt has followed it yet."""
        return self.decision in SEND_WANTED and self.decided_after >= self.attempts

    def attempt(self, number: int) -> AttemptRow | None:
        return self.tries[number - 1] if 0 < number <= len(self.tries) else None

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
