"""Reads stored raw requests: parse → match → dedupe → record. Called by the receive loop, the admin and ingest_mail.

A batch is one transaction. What cannot be parsed is marked with its error; a batch that the database refuses is halved
until the bad request stands alone and is marked too. A receipt without an attempt waits in `Unmatched`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from providers import mapping
from providers.base import (
    UNREADABLE,
    BounceClass,
    Channel,
    FailureClass,
    HookRequest,
    ParseFailed,
    Receipt,
    ReceiptKind,
)
from providers.mapping import Reading
from providers.text import clean
from tracking import accounts, ids, marks
from tracking.models import Content, InboundState, Unmatched
from tracking.prepared import prepared
from tracking.rows import AttemptRow, MessageRow
from tracking.services import legs
from tracking.services.envelope import copied_to
from tracking.services.record import Record, Source
from tracking.statuses import Fact, FactKind

log = logging.getLogger(__name__)

BATCH = 200  # requests a transaction
RECEIPTS = 2_000  # about as many receipts a transaction
WAITS = (1, 10, 60, 600, 3600)  # seconds between two tries of an unmatched receipt; the last one repeats
_SUPPRESS = {ReceiptKind.COMPLAINED: "complaint", ReceiptKind.UNSUBSCRIBED: "unsubscribed"}
_AWAY = (OperationalError, InterfaceError)  # nothing is wrong with the receipts


@dataclass(slots=True)
class Request:
    """One raw request on its way through a batch."""

    id: UUID
    account_id: int
    received_at: datetime
    receipts: list[Receipt]
    unmatched: int = 0
    error: str = ""


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


def drain() -> int:
    """Read one batch of new requests; how many there were. Loops share the work: each skips what another holds."""
    with transaction.atomic():
        rows = _claim(BATCH)
        if not rows:
            return 0
        try:
            with transaction.atomic():
                _read(rows)
            return len(rows)
        except _AWAY:
            raise
        except Exception:
            log.exception("a batch of %d requests was refused, halving it", len(rows))
            for half in _halves(rows):
                _bisect(half)
    return len(rows)


def _claim(limit: int) -> list[tuple[Any, ...]]:
    with prepared(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, account_id, method, url, headers, body FROM inbound"
            " WHERE state = 'new' ORDER BY id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED",
            [limit],
        )
        return list(cursor.fetchall())


def _halves(rows: Sequence[tuple[Any, ...]]) -> list[Sequence[tuple[Any, ...]]]:
    middle = len(rows) // 2
    return [half for half in (rows[:middle], rows[middle:]) if half]


def _bisect(rows: Sequence[tuple[Any, ...]]) -> None:
    try:
        with transaction.atomic():
            _read(rows)
    except _AWAY:
        raise
    except Exception as error:
        if len(rows) == 1:
            log.warning("request %s is parked: %s", rows[0][0], error)
            _mark([Request(rows[0][0], rows[0][1], ids.time_of(rows[0][0]), [], error=_why(error))])
            return
        for half in _halves(rows):
            _bisect(half)


def _read(rows: Sequence[tuple[Any, ...]]) -> None:
    requests = [_parse(row) for row in rows]
    items = [
        Item(request.id, number, request.account_id, request.received_at, receipt)
        for request in requests
        for number, receipt in enumerate(request.receipts)
    ]
    for start in range(0, len(items), RECEIPTS):
        apply(items[start : start + RECEIPTS])
    by_id = {request.id: request for request in requests}
    strays = [item for item in items if item.why]
    for item in strays:
        by_id[item.request_id].unmatched += 1
    _keep_unmatched(strays)
    _mark(requests)


def _parse(row: tuple[Any, ...]) -> Request:
    key, account_id, method, url, headers, body = row
    request = Request(key, account_id, ids.time_of(key), [])
    bound = accounts.by_id(account_id)
    if bound is None:
        request.error = "the account is gone or its credentials cannot be opened"
        return request
    headers = orjson.loads(headers) if isinstance(headers, str) else headers
    try:
        hook = HookRequest(method, url, headers, bytes(body), request.received_at)
        request.receipts = bound.adapter.parse(hook)
        request.error = _unread(request.receipts)
    except ParseFailed as error:
        request.error = clean(str(error), 1000) or "the request could not be read"
    except Exception as error:  # an adapter's bug parks this request, never its batch
        log.exception("the adapter of %s could not parse request %s", bound.account.code, key)
        request.error = _why(error)
    return request


def _why(error: Exception) -> str:
    return clean(f"{type(error).__name__}: {error}", 1000)


def _unread(receipts: Sequence[Receipt]) -> str:
    """The others of such a request are applied; it is marked, so that somebody looks, and can be replayed."""
    texts = [receipt.text for receipt in receipts if receipt.word == UNREADABLE]
    return clean(f"{len(texts)} of {len(receipts)} events could not be read: {texts[0]}", 1000) if texts else ""


def _mark(requests: Sequence[Request]) -> None:
    rows = [
        {
            "id": request.id,
            "state": InboundState.ERROR if request.error else InboundState.DONE,
            "receipts": len(request.receipts),
            "unmatched": request.unmatched,
            "error": request.error,
        }
        for request in requests
    ]
    with prepared(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE inbound t SET state = r.state, receipts = r.receipts, unmatched = r.unmatched, error = r.error"
            " FROM jsonb_to_recordset(%s::jsonb)"
            " AS r (id uuid, state text, receipts int, unmatched int, error text)"
            " WHERE t.id = r.id AND t.id BETWEEN %s AND %s",
            [orjson.dumps(rows).decode(), requests[0].id, requests[-1].id],
        )


# --- matching and recording


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
    detail = {name: _small(value) for name, value in receipt.detail.items() if name not in marks.OWN}
    if receipt.word:
        detail[marks.WORD] = clean(receipt.word, 100)
    if not receipt.known:
        detail[marks.UNMAPPED] = True
    if copy:
        detail[marks.COPY] = True
    return Source("provider", item.account_id, item.request_id, {**detail, **item.mapped} or None)


def _small(value: Any) -> Any:
    return clean(str(value), 2000) if not isinstance(value, bool | int | float | None) else value


# --- receipts whose attempt is not known (yet)


def _keep_unmatched(items: Sequence[Item]) -> None:
    now = datetime.now(UTC)
    Unmatched.objects.bulk_create(
        [
            Unmatched(
                account_id=item.account_id,
                inbound_id=item.request_id,
                item=item.number,
                receipt=_dump(item.receipt),
                why=item.why,
                received_at=item.received_at,
                next_try_at=now + timedelta(seconds=WAITS[0]),
            )
            for item in items
        ],
        ignore_conflicts=True,  # a replay finds them waiting already
    )


def retry_unmatched(limit: int = 500) -> int:
    """Try again those that are due; how many found their attempt."""
    now = datetime.now(UTC)
    with transaction.atomic():
        due = Unmatched.objects.filter(next_try_at__lte=now).order_by("next_try_at")
        waiting = list(due.select_for_update(skip_locked=True)[:limit])
        return _retry(waiting, now) if waiting else 0


def _retry(waiting: Sequence[Unmatched], now: datetime) -> int:
    """As _bisect: one that cannot be applied holds up no other."""
    try:
        with transaction.atomic():
            return _match_again(waiting, now)
    except _AWAY:
        raise
    except Exception as error:
        log.exception("%d unmatched receipts could not be applied", len(waiting))
        if len(waiting) == 1:
            why = clean(f"it cannot be applied: {_why(error)}", 200)
            Unmatched.objects.filter(pk=waiting[0].pk).update(why=why, next_try_at=None)
            return 0
        middle = len(waiting) // 2
        return _retry(waiting[:middle], now) + _retry(waiting[middle:], now)


def _match_again(waiting: Sequence[Unmatched], now: datetime) -> int:
    items = [Item(w.inbound_id, w.item, w.account_id, w.received_at, _load(w.receipt)) for w in waiting]
    apply(items)
    matched = [w.pk for w, item in zip(waiting, items, strict=True) if not item.why]
    Unmatched.objects.filter(pk__in=matched).delete()
    left = [(w, item) for w, item in zip(waiting, items, strict=True) if item.why]
    for entry, item in left:
        entry.why, entry.tries = item.why, entry.tries + 1
        entry.next_try_at = _next_try(entry, now)
    Unmatched.objects.bulk_update([entry for entry, _ in left], ["why", "tries", "next_try_at"])
    return len(matched)


def _next_try(entry: Unmatched, now: datetime) -> datetime | None:
    """None: past the horizon, the receipt stays on record and is not tried again."""
    at = now + timedelta(seconds=WAITS[min(entry.tries, len(WAITS) - 1)])
    return at if at < entry.received_at + timedelta(hours=settings.UNMATCHED_HORIZON_HOURS) else None


def try_unmatched_now(pks: Sequence[int]) -> int:
    """An operator's wish: those entries are due at once. How many there were."""
    return Unmatched.objects.filter(pk__in=pks).update(next_try_at=datetime.now(UTC))


def _dump(receipt: Receipt) -> dict[str, Any]:
    stored: dict[str, Any] = {}
    for name in Receipt.__dataclass_fields__:
        value = getattr(receipt, name)
        stored[name] = _text_only(value)
    return stored


def _text_only(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return clean(value, 2000)
    if isinstance(value, bool | None):
        return value
    return {str(k): _small(v) for k, v in dict(value).items()}


def _load(stored: dict[str, Any]) -> Receipt:
    at, failure, bounce = stored["occurred_at"], stored["failure"], stored["bounce"]
    return Receipt(
        **{
            **stored,
            "kind": ReceiptKind(stored["kind"]),
            "occurred_at": datetime.fromisoformat(at) if at else None,
            "failure": FailureClass(failure) if failure else None,
            "bounce": BounceClass(bounce) if bounce else None,
        }
    )
