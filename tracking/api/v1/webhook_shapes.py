"""What the answers of version 1 about webhooks hold, for the OpenAPI document. The answers themselves are made by the
services `endpoints` and `deliveries`, and a test holds them against these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from tracking.api.describe import Answer
from tracking.models.outbound import PayloadStyle

State = Literal["pending", "delivered", "failed"]


class WebhookEndpoint(Answer):
    id: int
    url: str
    events: list[str]
    description: str
    custom_headers: Annotated[dict[str, None], Field(description="Their names; nobody shows the values again.")]
    max_in_flight: int
    style: PayloadStyle
    is_active: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    last_attempt_at: datetime | None
    previous_secret_until: datetime | None
    created_at: datetime


class WebhookEndpoints(Answer):
    webhooks: list[WebhookEndpoint]


class WebhookWithSecret(WebhookEndpoint):
    """Shown this once."""

    secret: str
    signing_secret: Annotated[str, Field(description="whsec_…, as libraries of Standard Webhooks take it")]


class WebhookTest(Answer):
    delivered: bool
    response_status: int | None
    response_time: int | None
    response_body: str | None
    error: str | None
    delivery_id: UUID


class WebhookTry(Answer):
    at: datetime
    response_status: int | None
    response_time: int | None
    error: str | None
    response_body: str | None


class WebhookDelivery(Answer):
    id: UUID
    event: str
    notification_id: UUID | None
    state: State
    created_at: datetime
    next_try_at: datetime | None
    attempts: list[WebhookTry]
    payload: dict[str, Any]


class WebhookDeliveries(Answer):
    deliveries: list[WebhookDelivery]
    next_cursor: str | None


class Replayed(Answer):
    replayed: int
    next_cursor: str | None
