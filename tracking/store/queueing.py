"""The queue: a row is there exactly while a send is wanted. Called by submit, dispatch, act and record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from tracking.rows import MessageRow
from tracking.store.columns import QUEUE
from tracking.store.writing import Write, inserted, write

_DROP = (
    "DELETE FROM queue q USING json_to_recordset(%s::json) AS r (message_id uuid, lease_token uuid)"
    " WHERE q.message_id = r.message_id AND q.lease_token = r.lease_token"
)
_RELEASE = (
    "UPDATE queue q SET lease_token = NULL, lease_until = NULL, due_at = r.due_at"
    " FROM json_to_recordset(%s::json) AS r (message_id uuid, lease_token uuid, due_at timestamptz)"
    " WHERE q.message_id = r.message_id AND q.lease_token = r.lease_token"
)
_MOVE = (
    "UPDATE queue q SET lease_token = NULL, lease_until = NULL, due_at = r.due_at, account_id = r.account_id"
    " FROM json_to_recordset(%s::json) AS r (message_id uuid, lease_token uuid, account_id bigint, due_at timestamptz)"
    " WHERE q.message_id = r.message_id AND q.lease_token = r.lease_token"
)


def queue_row(row: MessageRow, due_at: datetime) -> dict[str, Any]:
    """What the queue needs to know of a message that is to be sent through its account."""
    return {
        "message_id": row.id,
        "project_id": row.project_id,
        "account_id": row.account_id,
        "priority": row.priority,
        "due_at": due_at,
        "expires_at": row.expires_at,
    }


def queued(rows: Sequence[dict[str, Any]]) -> Write:
    """A send of these is wanted: a `queue_row` of each."""
    return inserted("queue", QUEUE, rows, tail="ON CONFLICT DO NOTHING")


def dropped(leases: Iterable[tuple[UUID, UUID]]) -> Write:
    """No further send is wanted of these, given with their lease's token."""
    return Write(_DROP, [{"message_id": key, "lease_token": token} for key, token in leases])


def released(leases: Iterable[tuple[UUID, UUID, datetime]]) -> Write:
    """These are due again at the given moments, if the lease still holds."""
    rows = [{"message_id": key, "lease_token": token, "due_at": due} for key, token, due in leases]
    return Write(_RELEASE, rows)


def moved(leases: Iterable[tuple[MessageRow, UUID, datetime]]) -> Write:
    """As `released`, through the account that the message is to take now."""
    rows = [
        {"message_id": row.id, "lease_token": token, "account_id": row.account_id, "due_at": due}
        for row, token, due in leases
    ]
    return Write(_MOVE, rows)


def add_to_queue(row: dict[str, Any]) -> bool:
    """As `queued`, for a message that is known already. False where it stands there already."""
    return write([queued([row])]) == 1


def take_from_queue(message_ids: Collection[UUID]) -> set[UUID]:
    """Nothing more is to be sent of these: those that waited there. A leased row is left to its holder, who will see.
    Never waits: a claim holds queue rows while it waits for messages."""
    if not message_ids:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM queue WHERE message_id IN (SELECT message_id FROM queue WHERE message_id = ANY(%s)"
            " AND lease_token IS NULL FOR UPDATE SKIP LOCKED) RETURNING message_id",
            [list(message_ids)],
        )
        return {key for (key,) in cursor.fetchall()}
