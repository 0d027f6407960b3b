"""Writes the rows of outgoing webhooks. Called by outgoing (new ones) and publish (what came of them)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracking.store.writing import Write, inserted

# Of messages that were there before, record does not read what never changes: it is looked up here, where it is wanted.
_DELIVERIES = """
INSERT INTO webhook_delivery (id, endpoint_id, message_id, event, payload, state, attempts, next_try_at)
SELECT id, endpoint_id, message_id, event,
    CASE WHEN complete THEN payload ELSE jsonb_set(payload, '{data}', payload->'data' || coalesce((
        SELECT jsonb_build_object('external_id', nullif(m.external_id, ''), 'batch_id', m.batch_id)
        FROM message m WHERE m.id = r.message_id), '{}')) END,
    'pending', 0, next_try_at
FROM json_to_recordset(%s::json) AS r (id uuid, endpoint_id bigint, message_id uuid, event text, payload jsonb,
    next_try_at timestamptz, complete boolean)
"""
_FINISHED = """
UPDATE webhook_delivery d SET state = r.state, attempts = d.attempts + 1, next_try_at = r.next_try_at, lease = NULL
FROM json_to_recordset(%s::json) AS r (id uuid, lease uuid, state text, next_try_at timestamptz)
WHERE d.id = r.id AND d.lease = r.lease
"""
_ATTEMPT = {
    "delivery_id": "uuid",
    "at": "timestamptz",
    "milliseconds": "integer",
    "status": "smallint",
    "error": "text",
    "answer": "text",
}


def deliveries(rows: Sequence[dict[str, Any]]) -> Write:
    """`complete`: the payload holds all there is to know of the message."""
    return Write(_DELIVERIES, rows)


def delivery_attempts(rows: Sequence[dict[str, Any]]) -> Write:
    """A delivery may be gone by now: an attempt that outlived it is of no use."""
    there = "WHERE EXISTS (SELECT FROM webhook_delivery d WHERE d.id = r.delivery_id)"
    return inserted("webhook_attempt", _ATTEMPT, rows, empty={"error": "''", "answer": "''"}, tail=there)


def finished_deliveries(rows: Sequence[dict[str, Any]]) -> Write:
    """What follows from an attempt, where the lease still holds."""
    return Write(_FINISHED, rows)
