"""What became of messages in SMSBat's words: its status request and its style of webhooks. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from providers.models import ProviderAccount
from tracking import parts
from tracking.models import Attempt, Content, Message
from tracking.parts import Price
from tracking.rows import ARRIVED, MessageRow
from tracking.services import ways
from tracking.services.ways import NOT_USED, Way
from tracking.smsbat_words import DELIVERED, FINAL, PERMANENT_ERROR, TYPES, word
from tracking.statuses import attempt_status

_OF_A_MESSAGE = "notification."


@dataclass(frozen=True, slots=True)
class _Bill:
    """The leg that counts: the one that arrived, else the present one; and what is to be paid."""

    leg: Way
    cost: Decimal


def status(project_id: int, message_id: UUID) -> dict[str, Any] | None:
    found = ways.of([message_id]).get(message_id)
    if found is None or found.row.project_id != project_id:
        return None
    batch, category = Message.objects.values_list("batch_id", "category").get(pk=message_id)
    legs = _named(found.legs or (_only(found.row),), category)
    bill = _bill(found.row, legs)
    answer = {
        "messagelistId": batch,
        "messageId": str(message_id),
        "deliverystatus": word(found.row.status, found.row.reason),
        "partscount": bill.leg.parts,
        "cost": float(bill.cost),
    }
    return answer | _extended(found.row, legs, bill) if len(legs) > 1 else answer


def webhooks(payloads: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Payloads of ours in SMSBat's form; what is not about a message stays as it is."""
    about = [payload["type"].startswith(_OF_A_MESSAGE) for payload in payloads]
    found = ways.of({UUID(payload["notification_id"]) for payload, yes in zip(payloads, about, strict=True) if yes})
    return [_webhook(payload, found) if yes else payload for payload, yes in zip(payloads, about, strict=True)]


def _webhook(payload: dict[str, Any], found: dict[UUID, ways.Ways]) -> dict[str, Any]:
    known = found.get(UUID(payload["notification_id"]))
    said = word(payload["status"], payload["data"]["reason"] or "")
    at = datetime.fromisoformat(payload["timestamp"]).astimezone(UTC)
    cost = _bill(known.row, known.legs or (_only(known.row),)).cost if known and said == DELIVERED else Decimal(0)
    return {
        "messageId": payload["notification_id"],
        "deliverystatus": said,
        "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cost": float(cost),
    }


def _named(legs: Sequence[Way], category: str) -> list[Way]:
    """Where the account carries anything, the type that was asked for says what it was."""
    first, *rest = legs
    return [replace(first, kind=TYPES.get(category, first.kind)), *rest]


def _only(row: MessageRow) -> Way:
    """The way of a message whose legs are not stored."""
    account = ProviderAccount.objects.filter(pk=row.account_id or 0).first()
    today = Price(0, account.price_per_part, account.currency) if account else Price(0, Decimal(0), "")
    count, price, currency = _kept(row) or today
    kind = (account.service if account else "") or row.channel
    whom, when = (row.channel, row.recipient, ""), (None, None, None)
    return Way(0, kind, *whom, *when, row.status, row.reason, row.attempts, count or _counted(row), price, currency)


def _kept(row: MessageRow) -> Price | None:
    """As it stood when it was handed over: of the attempt that arrived, else of the last one. None: not handed over
    yet, or before prices were kept."""
    arrived = (attempt.number for attempt in row.tries if attempt_status(attempt.facts) in ARRIVED)
    attempt = Attempt.objects.filter(pk=(row.id, next(arrived, row.attempts))).first()
    if attempt is None or attempt.price is None:
        return None
    return Price(attempt.parts, attempt.price, attempt.currency)


def _counted(row: MessageRow) -> int:
    """From its text, while that is kept."""
    body = Content.objects.filter(pk=row.id).values_list("body", flat=True).first() or {}
    return parts.billed(row.channel, body.get("text", ""))


def _bill(row: MessageRow, legs: Sequence[Way]) -> _Bill:
    """Each leg that arrived is paid for; one that did not costs nothing."""
    arrived = [leg for leg in legs if leg.delivered]
    counts = arrived[0] if arrived else next(leg for leg in legs if leg.number == row.leg)
    same = [leg for leg in arrived if leg.currency == counts.currency]
    return _Bill(counts, sum((leg.amount for leg in same), Decimal(0)))


def _extended(row: MessageRow, legs: Sequence[Way], bill: _Bill) -> dict[str, Any]:
    words = [_leg_word(row, leg) for leg in legs]
    return {
        "fallbacks": [{"type": leg.kind, "status": said} for leg, said in list(zip(legs, words, strict=True))[1:]],
        "extendedStatuses": dict(zip(_names(legs), words, strict=True)),
        "rate": float(bill.leg.price),
        "rateAmount": float(bill.leg.amount),
        "rateCurrency": bill.leg.currency,
        "billAmount": float(bill.cost),
        "billCurrency": bill.leg.currency,
    }


def _names(legs: Sequence[Way]) -> list[str]:
    """Two legs of a kind are told apart by a number."""
    kinds = [leg.kind for leg in legs]
    before = [kinds[:place].count(kind) for place, kind in enumerate(kinds)]
    return [f"{kind}_{count + 1}" if count else kind for kind, count in zip(kinds, before, strict=True)]


def _leg_word(row: MessageRow, leg: Way) -> str:
    """A leg that was given up because its time had passed is out of the queue."""
    if leg.status == NOT_USED:
        return NOT_USED
    said = word(leg.status, leg.reason)
    return PERMANENT_ERROR if leg.number < row.leg and said not in FINAL else said
