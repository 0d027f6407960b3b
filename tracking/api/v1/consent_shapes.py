"""What the answers of version 1 about consents hold, for the OpenAPI document. The answers themselves are made by the
service `consents`, and a test holds them against these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from tracking.api.describe import Answer
from tracking.fields import ChannelName


class KnownConsent(Answer):
    channel: ChannelName
    recipient: Annotated[str | None, Field(description="null where it was erased")]
    purpose: str
    state: Literal["granted", "withdrawn"]
    changed_at: datetime


class ConsentsPut(Answer):
    consents: list[KnownConsent]


class ConsentPage(ConsentsPut):
    next_cursor: str | None
