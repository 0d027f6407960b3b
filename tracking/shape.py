"""The public shape of a message, the same in every answer of the API. Pure; called by submit and lookup."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from tracking import ids
from tracking.rows import MessageRow

# what `message` is made from, in its order: columns of message m and of its account a
COLUMNS = (
    *("m.id", "m.status", "m.reason", "m.channel", "m.external_id", "m.batch_id"),
    *("m.sent_at", "m.delivered_at", "m.read_at", "m.attempts", "a.code", "m.reference"),
)


def message(
    key: UUID,
    status: str,
    reason: str,
    channel: str,
    external_id: str,
    batch_id: int | None,
    sent_at: datetime | None,
    delivered_at: datetime | None,
    read_at: datetime | None,
    attempts: int,
    provider: str | None,
    reference: str,
) -> dict[str, Any]:
    """An empty text stands as null."""
    return {
        "id": key,
        "status": status,
        "reason": reason or None,
        "channel": channel,
        "external_id": external_id or None,
        "batch_id": batch_id,
        "tracking": {
            "created_at": ids.time_of(key),
            "sent_at": sent_at,
            "delivered_at": delivered_at,
            "read_at": read_at,
            "attempts": attempts,
            "provider": provider,
            "provider_message_id": reference or None,
        },
    }


def new_message(row: MessageRow, provider: str) -> dict[str, Any]:
    times = (row.sent_at, row.delivered_at, row.read_at)
    external_id, batch_id = row.extra["external_id"], row.extra["batch_id"]
    what = (row.id, row.status.value, row.reason, row.channel, external_id, batch_id)
    return message(*what, *times, row.attempts, provider, row.reference)
