"""What the answers of version 1 about messages hold, and two requests that no service has a model of. For the OpenAPI
document; the answers themselves are made by `shape`, `lookup` and `listing`, and a test holds them against these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, RootModel

from tracking import schema
from tracking.api.describe import Answer
from tracking.fields import MAX_ITEMS, ChannelName

StatusName = Literal["pending", "processing", "sent", "delivered", "read", "failed", "bounced", "cancelled", "unknown"]


class Tracking(Answer):
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    attempts: int
    provider: str | None
    provider_message_id: str | None


class MessageStatus(Answer):
    id: UUID
    status: StatusName
    reason: str | None
    channel: ChannelName
    external_id: str | None
    batch_id: int | None
    tracking: Tracking


class MessageBatchTaken(Answer):
    batch_id: int
    notifications: list[MessageStatus]


class MessageTaken(RootModel[MessageStatus | MessageBatchTaken]):
    """One message, or one for each of `recipients`."""


class ListedMessage(MessageStatus):
    recipient: str


class MessagePage(Answer):
    notifications: list[ListedMessage]
    next_cursor: str | None


class MessageWhole(ListedMessage):
    """The status and the request's own fields."""

    priority: int
    category: str | None
    template_id: str | None
    tags: list[str]
    scheduled_at: datetime | None
    expires_at: datetime | None
    sender: str | None
    subject: str | None
    headers: dict[str, str]
    metadata: dict[str, Any]
    attachments: list[dict[str, Any]]
    content: dict[str, Any] | None
    content_purged: bool


class TimelineEntry(Answer):
    type: Literal["attempt", "event", "decision"]
    kind: str
    at: datetime
    recorded_at: datetime
    attempt: int | None
    source: str
    provider: str | None


class Timeline(Answer):
    id: UUID
    events: list[TimelineEntry]


class KnownStatus(MessageStatus):
    """`id` as it was asked for, `notification_id`: ours."""

    id: str  # type: ignore[assignment]
    notification_id: UUID


class NoStatus(Answer):
    id: str
    status: None
    reason: Literal["not_found", "purged"]


class BulkStatuses(Answer):
    statuses: list[KnownStatus | NoStatus]


class RefusedItem(Answer):
    index: int
    error: dict[str, Any]


class TakenItem(MessageStatus):
    index: int


class BatchTaken(Answer):
    batch_id: int
    accepted: int
    rejected: int
    notifications: list[TakenItem | RefusedItem]


class BatchCounts(Answer):
    batch_id: int
    created_at: datetime
    size: int
    statuses: dict[StatusName, int]
    sent: int
    delivered: int
    delivery_rate: float | None


class Problem(Answer):
    """RFC 9457. `errors` names each wrong field by a JSON pointer, or each wrong parameter."""

    type: Annotated[str, Field(examples=["urn:postroom:invalid"])]
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []


# --- requests


class MessageBatch(BaseModel):
    notifications: Annotated[list[schema.Notification], Field(min_length=1, max_length=MAX_ITEMS)]


class MessageQuery(BaseModel):
    """Exact values; what is left out does not matter."""

    status: StatusName | None = None
    channel: ChannelName | None = None
    provider: Annotated[str, Field(max_length=50)] | None = None
    recipient: Annotated[str, Field(max_length=500)] | None = None
    external_id: Annotated[str, Field(max_length=200)] | None = None
    batch_id: Annotated[int, Field(ge=1)] | None = None
    category: Annotated[str, Field(max_length=100)] | None = None
    tag: Annotated[str, Field(max_length=100)] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(description="next_cursor of the page before")] | None = None
