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


class MessageTracking(Answer):
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
    tracking: MessageTracking


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


class MessageAttachment(Answer):
    filename: str
    content_type: str
    bytes: int


class MessageLeg(Answer):
    """A way of a message with a fallback, and what became of it."""

    number: int
    channel: ChannelName
    recipient: str
    provider: Annotated[str | None, Field(description="the account that was asked for")]
    ttl: int | None
    status: StatusName | Literal["not_used"]
    attempts: int
    taken_at: datetime | None
    due_at: Annotated[datetime | None, Field(description="when it is taken, unless the leg before has delivered")]
    content: dict[str, Any] | None


class MessageWhole(ListedMessage):
    """The status and the request's own fields."""

    priority: int
    category: str | None
    template_id: str | None
    tags: list[str]
    scheduled_at: datetime | None
    expires_at: datetime | None
    retry: dict[str, Any] | None
    sender: str | None
    reply_to: str | None
    subject: str | None
    purpose: str | None
    cc: list[str]
    bcc: list[str]
    headers: dict[str, str]
    variables: dict[str, Any]
    metadata: dict[str, Any]
    attachments: list[MessageAttachment]
    content: dict[str, Any] | None
    content_purged: bool
    legs: Annotated[list[MessageLeg], Field(description="of a message with a fallback, in order")]
    double_delivery: Annotated[bool, Field(description="an abandoned leg delivered, too")]


class TimelineEntry(Answer):
    type: Literal["attempt", "event", "decision"]
    kind: str
    at: datetime
    recorded_at: datetime
    attempt: int | None
    source: str
    provider: str | None
    finished_at: Annotated[datetime | None, Field(description="of attempts")] = None
    provider_message_id: Annotated[str | None, Field(description="of attempts")] = None
    said_at: Annotated[datetime | None, Field(description="a receipt's own time")] = None
    failure: Annotated[str | None, Field(description="failure class")] = None
    bounce: Annotated[str | None, Field(description="bounce class")] = None
    machine: Annotated[bool, Field(description="an open or click that no human made")] = False
    code: Annotated[str | None, Field(description="the provider's own")] = None
    text: Annotated[str | None, Field(description="the provider's own")] = None
    detail: Any = None
    receipt_id: Annotated[UUID | None, Field(description="the raw request; with the scope `receipts`")] = None


class Timeline(Answer):
    id: UUID
    events: list[TimelineEntry]


class KnownStatus(MessageStatus):
    """`id` as it was asked for, `notification_id`: ours."""

    id: str  # type: ignore[assignment]
    notification_id: UUID
    matches: Annotated[
        int, Field(description="where several messages have the id: how many, 100 for more too; this is the newest")
    ] = 1


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
