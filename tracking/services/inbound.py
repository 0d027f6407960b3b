"""Raw requests of providers: store one, put one back to be read again. Called by hooks, ingest_mail and the admin."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

import orjson
from django.db import connection, transaction

from providers.base import HookRequest
from tracking import ids, partitions, wake
from tracking.models import Inbound, InboundState, Nonce

# what proves the sender is not kept
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


class Replayed(Exception):
    """The nonce was used before, by another body."""


def store(*, account_id: int, hook: HookRequest, nonce: str = "") -> UUID | None:
    """Commit one raw request. None where the very same request was stored before. Raises Replayed, DatabaseError."""
    key = ids.new()
    if not nonce:
        partitions.with_repair(lambda: _insert(key, account_id, hook))
        return key
    with transaction.atomic():
        if not _use(account_id, nonce, hook.body):
            return None
        _insert(key, account_id, hook)
    return key


def _insert(key: UUID, account_id: int, hook: HookRequest) -> None:
    headers = {name: value for name, value in hook.headers.items() if name not in _SECRET_HEADERS}
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO inbound (id, account_id, method, url, headers, body, state, receipts, unmatched, error)"
            " VALUES (%s, %s, %s, %s, %s::jsonb, %s, 'new', 0, 0, '')",
            [key, account_id, hook.method, hook.url, orjson.dumps(headers).decode(), hook.body],
        )


def _use(account_id: int, nonce: str, body: bytes) -> bool:
    """True on the first use; False where the same body comes again (our answer was lost)."""
    digest = sha256(body).digest()
    used, first = Nonce.objects.get_or_create(account_id=account_id, nonce=nonce[:200], defaults={"digest": digest})
    if first:
        return True
    if bytes(used.digest) != digest:
        raise Replayed(nonce)
    return False


def replay(inbound_id: UUID) -> bool:
    """Read a raw request again, as after a corrected mapping. What is known already counts once. False: not here."""
    again = Inbound.objects.filter(pk=inbound_id).update(state=InboundState.NEW, error="")
    wake.after_commit(wake.RECEIVE)
    return bool(again)
