"""What became of each leg of messages: for the API, the page of a message and SMSBat's interface. Reads only.

A message without stored legs has one way: its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from tracking import store
from tracking.models import Leg
from tracking.rows import MessageRow
from tracking.statuses import Status

NOT_USED = "not_used"


@dataclass(frozen=True, slots=True)
class Way:
    """One leg. `status`: a message's status, or NOT_USED."""

    number: int
    kind: str  # sms, email, push, viber, rcs …
    channel: str
    recipient: str
    provider: str  # the account that was asked for
    ttl: int | None
    due_at: datetime | None
    taken_at: datetime | None
    status: str
    reason: str
    attempts: int
    parts: int
    price: Decimal
    currency: str

    @property
    def amount(self) -> Decimal:
        return self.parts * self.price

    @property
    def delivered(self) -> bool:
        return self.status in (Status.DELIVERED, Status.READ)


@dataclass(frozen=True, slots=True)
class Ways:
    """A message and its stored legs, in order."""

    row: MessageRow
    legs: tuple[Way, ...]


def of(message_ids: Collection[UUID]) -> dict[UUID, Ways]:
    """Those that exist, in two round trips however many they are."""
    rows = store.read_messages(message_ids)
    stored: defaultdict[UUID, list[Leg]] = defaultdict(list)
    for leg in Leg.objects.filter(message_id__in=rows).order_by("message_id", "number"):
        stored[leg.message_id].append(leg)
    return {key: Ways(row, tuple(_way(row, leg) for leg in stored[key])) for key, row in rows.items()}


def _way(row: MessageRow, leg: Leg) -> Way:
    folded = row.leg_folded(leg.number)
    return Way(
        number=leg.number,
        kind=leg.kind,
        channel=leg.channel,
        recipient=leg.recipient,
        provider=leg.provider,
        ttl=leg.ttl,
        due_at=leg.due_at,
        taken_at=leg.taken_at if leg.number <= row.leg else None,  # one behind it was taken back
        status=folded.status if folded else NOT_USED,
        reason=folded.reason if folded else "",
        attempts=sum(attempt.leg == leg.number for attempt in row.tries),
        parts=leg.parts,
        price=leg.price,
        currency=leg.currency,
    )


def shape(way: Way, content: dict[str, Any] | None) -> dict[str, Any]:
    """As the API shows it."""
    return {
        "number": way.number,
        "channel": way.channel,
        "recipient": way.recipient,
        "provider": way.provider or None,
        "ttl": way.ttl,
        "status": way.status,
        "attempts": way.attempts,
        "taken_at": way.taken_at,
        "due_at": way.due_at,
        "content": content,
    }
