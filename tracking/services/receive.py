"""Reads stored raw requests and has their receipts applied. Called by the receive loop, the admin and ingest_mail.

A batch is one transaction. What cannot be parsed is marked with its error; a batch that the database refuses is halved
until the bad request stands alone and is marked too. A receipt without an attempt is kept by `unmatched`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction

from providers.base import (
    UNREADABLE,
    HookRequest,
    ParseFailed,
    Receipt,
)
from providers.text import clean, told
from tracking import accounts, ids
from tracking.away import AWAY
from tracking.models import InboundState
from tracking.prepared import prepared
from tracking.services import receipts, unmatched

log = logging.getLogger(__name__)

BATCH = 200  # requests a transaction
RECEIPTS = 2_000  # about as many receipts a transaction


@dataclass(slots=True)
class Request:
    """One raw request on its way through a batch."""

    id: UUID
    account_id: int
    received_at: datetime
    receipts: list[Receipt]
    unmatched: int = 0
    error: str = ""


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
        except AWAY:
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
    except AWAY:
        raise
    except Exception as error:
        if len(rows) == 1:
            log.warning("request %s is parked: %s", rows[0][0], error)
            _mark([Request(rows[0][0], rows[0][1], ids.time_of(rows[0][0]), [], error=told(error))])
            return
        for half in _halves(rows):
            _bisect(half)


def _read(rows: Sequence[tuple[Any, ...]]) -> None:
    requests = [_parse(row) for row in rows]
    items = [
        receipts.Item(request.id, number, request.account_id, request.received_at, receipt)
        for request in requests
        for number, receipt in enumerate(request.receipts)
    ]
    for start in range(0, len(items), RECEIPTS):
        receipts.apply(items[start : start + RECEIPTS])
    by_id = {request.id: request for request in requests}
    strays = [item for item in items if item.why]
    for item in strays:
        by_id[item.request_id].unmatched += 1
    unmatched.keep(strays)
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
        request.error = told(error)
    return request


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
