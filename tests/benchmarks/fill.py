"""Messages as the services would have left them, by COPY: the bench measures what follows, not this."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from providers.models import ProviderAccount
from tracking import ids

BODY = '{"subject": "Your order", "text": "Your order has been sent to you.", "sender": "shop@example.com"}'

JUST_NOW = timedelta(minutes=1)

MESSAGE = {
    "channel": "email",
    "category": "",
    "template_id": "",
    "tags": "{}",
    "priority": 5,
    "reason": "",
    "decision": "queued",
    "decisions": 1,
    "decided_after": 0,
    "budget_from": 0,
    "operator_retries": 0,
    "leg": 0,
}
_OWN = ("id", "project_id", "account_id", "recipient", "external_id", "status", "attempts", "sent_at", "reference")


def keys(count: int, over: timedelta) -> list[UUID]:
    """`count` keys, spread evenly over the time that has just passed, in order."""
    step = over.total_seconds() / count
    first = now().timestamp() - over.total_seconds()
    return [_key(first + step * n) for n in range(count)]


def _key(timestamp: float) -> UUID:
    low = random.getrandbits(76)
    return UUID(int=int(timestamp * 1000) << 80 | 0x7 << 76 | (low >> 64) << 64 | 0b10 << 62 | low & (1 << 62) - 1)


def now() -> datetime:
    return datetime.now(UTC)


def due(conn: psycopg.Connection, account: ProviderAccount, project_id: int, count: int) -> list[UUID]:
    """Messages that wait to be sent."""
    made = keys(count, JUST_NOW)
    messages(conn, account, project_id, made, status="pending", attempts=0)
    copy(conn, "content", ("message_id", "body"), ((key, BODY) for key in made))
    columns = ("message_id", "project_id", "account_id", "priority", "due_at")
    copy(conn, "queue", columns, ((key, project_id, account.pk, 5, now()) for key in made))
    return made


def sent(conn: psycopg.Connection, account: ProviderAccount, project_id: int, made: Sequence[UUID]) -> None:
    """Messages that the provider took and has not reported on, with their attempt."""
    messages(conn, account, project_id, made, status="sent", attempts=1)
    fixed = (account.pk, 0, "", "")
    columns = ("message_id", "number", "account_id", "leg", "code", "text", "idempotency_key", "reference")
    times = ("started_at", "finished_at", "accepted_at")
    rows = ((key, 1, *fixed, f"{key}:0:0", _reference(key), *[ids.time_of(key)] * 3) for key in made)
    copy(conn, "attempt", (*columns, *times), rows)


def recipient(number: int) -> str:
    return f"user{number}@example.com"


def messages(
    conn: psycopg.Connection,
    account: ProviderAccount,
    project_id: int,
    made: Iterable[UUID],
    *,
    status: str,
    attempts: int,
) -> None:
    fixed = tuple(MESSAGE.values())
    rows = (
        (
            *(key, project_id, account.pk, recipient(n), f"order-{n}", status, attempts),
            *((ids.time_of(key), _reference(key)) if attempts else (None, "")),
            *fixed,
        )
        for n, key in enumerate(made)
    )
    copy(conn, "message", (*_OWN, *MESSAGE), rows)


def _reference(key: UUID) -> str:
    return f"ref-{key.hex}"


def copy(conn: psycopg.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with conn.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as stream:
        for row in rows:
            stream.write_row(row)
