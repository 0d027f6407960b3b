"""The tables of tracking, by theme."""

from tracking.models.inbound import Inbound, InboundState, Nonce, Unmatched
from tracking.models.installation import CheckRun
from tracking.models.intake import IdempotencyKey, Suppression
from tracking.models.limits import RateWindow
from tracking.models.message import Attempt, Batch, Content, Event, Message
from tracking.models.outbound import Delivery, DeliveryAttempt, DeliveryState, DisabledReason, Endpoint, EventType
from tracking.models.project import ApiKey, Grant, Project, Scope
from tracking.models.queue import Heartbeat, QueueRow, Switch
from tracking.models.remap import Remap, RemapState
from tracking.models.stats import (
    MetricBlock,
    MetricDelta,
    MetricHour,
    MetricKept,
    MetricMinute,
    MetricQuarter,
    MetricSeal,
)
from tracking.models.tracked import Tracked, TrackerListener

__all__ = [
    "ApiKey",
    "Attempt",
    "Batch",
    "CheckRun",
    "Content",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryState",
    "DisabledReason",
    "Endpoint",
    "Event",
    "EventType",
    "Grant",
    "Heartbeat",
    "IdempotencyKey",
    "Inbound",
    "InboundState",
    "Message",
    "MetricBlock",
    "MetricDelta",
    "MetricHour",
    "MetricKept",
    "MetricMinute",
    "MetricQuarter",
    "MetricSeal",
    "Nonce",
    "Project",
    "QueueRow",
    "RateWindow",
    "Remap",
    "RemapState",
    "Scope",
    "Suppression",
    "Switch",
    "Tracked",
    "TrackerListener",
    "Unmatched",
]
