"""From a receipt to a fact: match → dedupe → record. Called by receive, by unmatched, and by services
that have receipts of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from providers import mapping
from providers.base import (
    Channel,
    Receipt,
    ReceiptKind,
)
from providers.mapping import Reading
from providers.text import clean
from tracking import accounts, ids, marks
from tracking.models import Content
from tracking.prepared import prepared
from tracking.rows import AttemptRow, MessageRow
from tracking.services import legs
from tracking.services.envelope import copied_to
from tracking.services.record import Record, Source
from tracking.statuses import Fact, FactKind

_SUPPRESS = {ReceiptKind.COMPLAINED: "complaint", ReceiptKind.UNSUBSCRIBED: "unsubscribed"}


@dataclass(slots=True, eq=False)
class Item:
    """One receipt, and the attempt that it is about once that is known."""

    request_id: UUID
    number: int
    account_id: int
    received_at: datetime
    receipt: Receipt
    attempt: tuple[UUID, int] | None = None
    why: str = ""  # it did not match
    mapped: dict[str, str] = field(default_factory=dict)  # which rule said what it means, and what the adapter said


def apply(items: Sequence[Item]) -> None:
    """Record the receipts whose attempt is known; the others get their `why`. Inside the caller's transaction."""
    _match(items)
    named = [(item, *item.attempt) for item in items if item.attempt]
    keys = {item: dedupe_key(item, number) for item, _, number in named}
    work = Record({key for _, key, _ in named}, facts={(key, keys[item]) for item, key, _ in named})
    found = [(item, *at) for item in items if (at := _attempt_of(work, item))]
    for item, *_ in found:  # after its key was made: a rule that comes or goes makes no second event of a replay
        _map(item)
    copies = _copies(found)
    stops: list[tuple[MessageRow, AttemptRow, str, str, tuple[str, str]]] = []
    for item, row, attempt in found:
        key = keys[item]
        copy = (row.id, item.receipt.recipient.casefold()) in copies
        work.add_fact(
            row,
            attempt,
            _fact(item, FactKind.OTHER if copy else FactKind(item.receipt.kind.value)),
            key=key,
            source=_source(item, copy=copy),
            said_at=_said_at(item.receipt),
            received_at=item.received_at,
        )
        if item.receipt.reference and not attempt.reference:  # it came before the send's answer
            attempt.reference = row.reference = clean(item.receipt.reference, 300)
        if reason := _SUPPRESS.get(item.receipt.kind) or ("hard_bounce" if item.receipt.suppress else ""):
            channel, recipient = row.address(attempt.leg)
            stops.append((row, attempt, key, reason, (channel, item.receipt.recipient if copy else recipient)))
    fresh = work.learn()
    for row, attempt, key, reason, address in stops:
        if (row.id, key) in fresh:
            work.suppress(row, reason, *address, attempt)
    legs.after_receipts(work)
    work.save()


def _map(item: Item) -> None:
    """What an operator said of it, where the adapter does not know."""
    receipt = item.receipt
    if receipt.known:
        return
    code, text = clean(receipt.code, 100), clean(receipt.text, 1000)  # as its event will have them
    rule = mapping.find(accounts.rules(item.account_id), word=clean(receipt.word, 100), code=code, text=text)
    if rule is not None:
        item.mapped = marks.mapped(rule.id, Reading(receipt.kind, receipt.failure, receipt.bounce))
        item.receipt = mapping.reread(receipt, rule)


def _copies(found: Sequence[tuple[Item, MessageRow, AttemptRow]]) -> set[tuple[UUID, str]]:
    """Which (message, address) pairs are copies (cc, bcc): providers report on them under the same id, but the status
    is that of the message's own recipient. An address that is neither is a forward of it, and counts."""
    others = {
        (row.id, item.receipt.recipient.casefold())
        for item, row, attempt in found
        if row.channel == Channel.EMAIL
        and not attempt.leg
        and item.receipt.recipient.casefold() not in ("", row.recipient.casefold())
    }
    if not others:
        return set()
    bodies = Content.objects.filter(pk__in={key for key, _ in others}).values_list("pk", "body")
    named = {(key, address) for key, body in bodies for address in copied_to(body)}
    return others & named


def _match(items: Sequence[Item]) -> None:
    """By the echoed message and attempt, else by the provider's own id."""
    by_reference = []
    for item in items:
        item.attempt = ids.from_echo(item.receipt.echo) if item.receipt.echo else None
        if item.attempt is None and item.receipt.reference:
            by_reference.append(item)
    if not by_reference:
        return
    with prepared(), connection.cursor() as cursor:
        cursor.execute(
            # The last one counts: an attempt of our own (they have a key) before what somebody says was sent elsewhere,
            # and of those whoever said it first, or a project could take another's receipts by naming their reference.
            "SELECT account_id, reference, message_id, number FROM attempt WHERE reference = ANY(%s)"
            " AND reference <> '' AND account_id = ANY(%s) ORDER BY idempotency_key <> '',"
            " CASE WHEN idempotency_key = '' THEN message_id END DESC, message_id, number",
            [[item.receipt.reference for item in by_reference], list({item.account_id for item in by_reference})],
        )
        known = {(account, reference): (message, number) for account, reference, message, number in cursor.fetchall()}
    for item in by_reference:
        item.attempt = known.get((item.account_id, item.receipt.reference))


def _attempt_of(work: Record, item: Item) -> tuple[MessageRow, AttemptRow] | None:
    item.why = ""
    if item.attempt is None:
        has_id = item.receipt.echo or item.receipt.reference
        item.why = "no attempt has this id" if has_id else "the receipt names no message"
        return None
    row = work.messages.get(item.attempt[0])
    attempt = row.attempt(item.attempt[1]) if row else None
    if row is None or attempt is None:
        item.why = "no attempt has this id"
        return None
    if attempt.account_id != item.account_id:  # a hook speaks for its own account only
        item.why = "the attempt belongs to another account"
        return None
    return row, attempt


def dedupe_key(item: Item, number: int) -> str:
    """The vendor's own id of the event, else a digest of all that the receipt says."""
    receipt = item.receipt
    told = receipt.event_id or orjson.dumps(
        [receipt.occurred_at, receipt.word, receipt.code, receipt.text, receipt.recipient, dict(receipt.detail)],
        default=str,
    )
    text = told if isinstance(told, str) else told.decode()
    return sha256(f"{item.account_id}|{number}|{receipt.kind}|{text}".encode()).hexdigest()[:40]


def _said_at(receipt: Receipt) -> datetime | None:
    """In UTC; a moment that is outside of the calendar there says nothing."""
    try:
        return receipt.occurred_at and receipt.occurred_at.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def _fact(item: Item, kind: FactKind) -> Fact:
    receipt = item.receipt
    return Fact(
        kind,
        _said_at(receipt) or item.received_at,
        receipt.failure,
        receipt.bounce,
        clean(receipt.code, 100),
        clean(receipt.text, 1000),
        receipt.machine,
    )


def _source(item: Item, *, copy: bool) -> Source:
    receipt = item.receipt
    detail = {name: small(value) for name, value in receipt.detail.items() if name not in marks.OWN}
    if receipt.word:
        detail[marks.WORD] = clean(receipt.word, 100)
    if not receipt.known:
        detail[marks.UNMAPPED] = True
    if copy:
        detail[marks.COPY] = True
    return Source("provider", item.account_id, item.request_id, {**detail, **item.mapped} or None)


def small(value: Any) -> Any:
    return clean(str(value), 2000) if not isinstance(value, bool | int | float | None) else value
