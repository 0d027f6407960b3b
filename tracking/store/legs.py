"""Writes and reads the legs of messages with a fallback. Called by record, submit and services.legs, which hold the
message's lock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from tracking.rows import Leg
from tracking.store.columns import LEG, LEG_EMPTY, LEG_KEY
from tracking.store.writing import Write, inserted, updated

_OF = (
    "SELECT message_id, number, channel, recipient, provider, ttl FROM leg"
    " WHERE message_id = ANY(%s) ORDER BY message_id, number"
)
# While sending is paused nobody's leg is taken: it could not be sent, and the one before would be given up for nothing.
_OVERDUE = (
    "SELECT message_id, number FROM leg WHERE due_at <= now()"
    " AND NOT EXISTS (SELECT 1 FROM tracking_switch WHERE sending_paused)"
    " AND NOT EXISTS (SELECT 1 FROM tracking_project p WHERE p.id = leg.project_id AND p.paused)"
    " ORDER BY due_at LIMIT %s"
)
LegKey = tuple[UUID, int]


def legs(rows: Sequence[dict[str, Any]]) -> Write:
    """New ones."""
    return inserted("leg", LEG, rows, empty=LEG_EMPTY)


def taken_legs(rows: Sequence[dict[str, Any]]) -> Write:
    """When they were taken, and the price of their account then."""
    return _updated({"taken_at": "timestamptz", "price": "numeric", "currency": "text"}, rows)


def due_legs(dues: Iterable[tuple[UUID, int, datetime | None]]) -> Write:
    """When these are to be taken unless the leg before has delivered; None: never."""
    rows = [{"message_id": key, "number": number, "due_at": due} for key, number, due in dues]
    return _updated({"due_at": "timestamptz"}, rows)


def _updated(columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> Write:
    return updated("leg", LEG_KEY, columns, rows) if rows else Write("", [])


def legs_of(message_ids: Sequence[UUID]) -> dict[UUID, list[Leg]]:
    """In the order of their numbers."""
    found: defaultdict[UUID, list[Leg]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_OF, [list(message_ids)])
        for key, *values in cursor.fetchall():
            found[key].append(Leg(*values))
    return dict(found)


def overdue_legs(limit: int) -> list[LegKey]:
    with connection.cursor() as cursor:
        cursor.execute(_OVERDUE, [limit])
        return list(cursor.fetchall())
