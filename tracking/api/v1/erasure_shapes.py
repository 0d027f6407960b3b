"""What the answers of version 1 about erasures hold, for the OpenAPI document. The answers themselves are made by the
service `erase`, and a test holds them against these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from tracking.api.describe import Answer
from tracking.fields import ChannelName
from tracking.models import ErasureState


class ErasureProgress(Answer):
    step: str | None
    percent: int


class Certificate(Answer):
    """It names nobody: the recipient stands in it as a keyed hash."""

    id: int
    status: ErasureState
    channel: ChannelName
    recipient_hash: Annotated[str, Field(description="HMAC-SHA-256, as hexadecimal digits")]
    requested_by: str
    progress: ErasureProgress
    erased: Annotated[dict[str, int], Field(description="how many rows of each table")]
    created_at: datetime
    finished_at: datetime | None
