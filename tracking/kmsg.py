"""The words and shapes of k-msg's DeliveryTracker. No queries; used by tracker and the services behind it.

In Python the fields have Python's names; what goes over the wire (webhooks) has those of the document.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any

from tracking.figures import Figures
from tracking.models.outbound import EventType
from tracking.statuses import Status


class MessageStatus(enum.StrEnum):
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CLICKED = "CLICKED"
    CANCELLED = "CANCELLED"


class MessageEventType(enum.StrEnum):
    """Those of the document that are about messages; SENDING has none there."""

    QUEUED = "message.queued"
    SENDING = "message.sending"
    SENT = "message.sent"
    DELIVERED = "message.delivered"
    FAILED = "message.failed"
    CLICKED = "message.clicked"
    CANCELLED = "message.cancelled"


_S = MessageStatus
WORDS: Mapping[str, MessageStatus] = {
    Status.PENDING: _S.QUEUED,
    Status.PROCESSING: _S.SENDING,
    Status.SENT: _S.SENT,
    Status.UNKNOWN: _S.SENT,
    Status.DELIVERED: _S.DELIVERED,
    Status.READ: _S.CLICKED,
    Status.FAILED: _S.FAILED,
    Status.BOUNCED: _S.FAILED,
    Status.CANCELLED: _S.CANCELLED,
}
TERMINAL = frozenset({_S.DELIVERED, _S.FAILED, _S.CANCELLED, _S.CLICKED})
_ORDER = (_S.QUEUED, _S.SENDING, _S.SENT, _S.DELIVERED, _S.CLICKED)

# What a webhook of a single message may ask for, and the events of ours that it is told at. `message.queued` is told
# when the tracking begins; SENDING is no milestone.
TOLD_AT: Mapping[MessageEventType, Sequence[str]] = {
    MessageEventType.QUEUED: (MessageEventType.QUEUED.value,),
    MessageEventType.SENT: (EventType.SENT,),
    MessageEventType.DELIVERED: (EventType.DELIVERED,),
    MessageEventType.FAILED: (EventType.FAILED, EventType.BOUNCED),
    MessageEventType.CLICKED: (EventType.READ,),
    MessageEventType.CANCELLED: (EventType.CANCELLED,),
}


def forward(before: MessageStatus, after: MessageStatus) -> bool:
    """Whether a report may move a message so: never back, and of what has ended only a click follows a delivery."""
    if before in TERMINAL:
        return (before, after) == (_S.DELIVERED, _S.CLICKED)
    return after not in _ORDER or _ORDER.index(after) > _ORDER.index(before)


def event_type(status: MessageStatus) -> MessageEventType:
    return MessageEventType[status.name]


# --- records


@dataclass(frozen=True, slots=True)
class DeliveryError:
    code: str
    message: str
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    attempt_number: int
    attempted_at: datetime
    status: MessageStatus
    provider: str
    error: DeliveryError | None = None


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    message_id: str
    phone_number: str
    status: MessageStatus
    attempts: Sequence[DeliveryAttempt] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    clicked_at: datetime | None = None
    failed_at: datetime | None = None
    error: DeliveryError | None = None


@dataclass(frozen=True, slots=True)
class StatusHistoryEntry:
    status: MessageStatus
    timestamp: datetime
    provider: str
    source: str  # provider, webhook, manual, system
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DeliveryWebhook:
    """`timeout`: milliseconds; `retries`: calls after the first. Both are the tracker's where they are left out."""

    url: str
    events: Sequence[str]
    secret: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True)
class TrackingRecord:
    """A message as it stands. `webhooks` hold neither secrets nor the values of headers."""

    message_id: str
    phone_number: str
    template_id: str
    provider: str
    current_status: MessageStatus
    status_history: Sequence[StatusHistoryEntry]
    delivery_report: DeliveryReport
    webhooks: Sequence[DeliveryWebhook]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """`average_delivery_time`: milliseconds; the rates: percent. Each is 0 where there is nothing to divide by."""

    total_messages: int
    by_status: Mapping[MessageStatus, int]
    by_provider: Mapping[str, int]
    average_delivery_time: float
    delivery_rate: float
    failure_rate: float
    last_updated: datetime


@dataclass(frozen=True, slots=True)
class MessageEvent:
    id: str
    type: str
    timestamp: datetime
    data: Any
    metadata: Mapping[str, Any] = field(default_factory=dict)


def wire(value: Any) -> Any:
    """Records as the document's JSON has them: camelCase, and what is not there left out."""
    if is_dataclass(value) and not isinstance(value, type):
        named = ((each.name, getattr(value, each.name)) for each in fields(value))
        return {_camel(name): wire(found) for name, found in named if found is not None}
    if isinstance(value, list | tuple):
        return [wire(each) for each in value]
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


# --- stats


def stats(figures: Figures, by_provider: Mapping[str, int], now: datetime) -> DeliveryStats:
    """From the rollups. A click is a delivery too; what bounced counts as failed."""
    cancelled_late = figures.failed_by.get("cancelled", 0)
    never_sent = figures.suppressed + figures.expired + figures.rejected
    with_provider = figures.in_flight - figures.processing - figures.waiting_again
    by_status = {
        _S.QUEUED: figures.pending + figures.waiting_again,
        _S.SENDING: figures.processing,
        _S.SENT: with_provider + figures.unknown,
        _S.DELIVERED: figures.delivered - figures.read,
        _S.FAILED: figures.failed - cancelled_late + figures.bounced + never_sent,
        _S.CLICKED: figures.read,
        _S.CANCELLED: figures.cancelled + cancelled_late,
    }
    failed = figures.failed + figures.bounced - cancelled_late
    return DeliveryStats(
        total_messages=figures.created,
        by_status=by_status,
        by_provider=by_provider,
        average_delivery_time=1000 * (figures.delivery_mean or 0.0),
        delivery_rate=100 * (figures.delivery_rate or 0.0),
        failure_rate=100 * failed / figures.sent if figures.sent else 0.0,
        last_updated=now,
    )
