"""What a stream tells, for the OpenAPI document. The events themselves are made by tracking.api.stream."""

from __future__ import annotations

from pydantic import RootModel


class EventStream(RootModel[str]):
    """Server-sent events: `ready` once, then `status` with JSON in `data` (notification_id, status, previous, reason,
    channel, timestamp) for each change; `reset` instead of `ready` where what was asked to go on from is not kept."""
