"""What the answers of version 1 about devices hold, for the OpenAPI document. The answers themselves are made by the
service `device_list`, and a test holds them against these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from tracking.api.describe import Answer
from tracking.device_schema import Platform


class InvalidToken(Answer):
    """Why nothing is sent to a device."""

    reason: Annotated[str, Field(description="a failure class, `unregistered` or `manual`")]
    detail: str | None
    at: datetime
    notification_id: Annotated[UUID | None, Field(description="the message whose answer said so")]


class RegisteredDevice(Answer):
    id: int
    platform: Platform
    token: str
    hwid: str | None
    user_id: str | None
    language: str | None
    app_version: str | None
    tags: dict[str, Any]
    valid: bool
    invalid: InvalidToken | None
    registered_at: datetime
    created_at: datetime


class DevicePage(Answer):
    devices: list[RegisteredDevice]
    next_cursor: str | None
