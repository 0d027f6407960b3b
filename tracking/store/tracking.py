"""Writes the rows of tracked messages. Called by services.tracked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracking.store.writing import Write, inserted

_TRACKED = {"message_id": "uuid", "project_id": "bigint", "expires_at": "timestamptz", "endpoints": "bigint[]"}


def tracked(rows: Sequence[dict[str, Any]]) -> Write:
    return inserted("tracked_message", _TRACKED, rows)
