"""Writes the rows of streams. Called by services.stream for record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracking.store.writing import Write, inserted

_EVENT = {
    "message_id": "uuid",
    "project_id": "bigint",
    "channel": "text",
    "status": "text",
    "previous": "text",
    "reason": "text",
    "at": "timestamptz",
}


def stream_events(rows: Sequence[dict[str, Any]]) -> Write:
    return inserted("stream_event", _EVENT, rows, empty={"reason": "''"})
