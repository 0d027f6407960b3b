"""The tables of tracking, by theme."""

from tracking.models.channel import ChannelMessage, ChannelSettings, ChatChannel, ChatMember, ChatUser, Membership
from tracking.models.consent import Consent, ConsentChange, ConsentState
from tracking.models.engagement import EngagementSettings, ShortLink, Tracked, Visit
from tracking.models.export import Export, ExportFormat, ExportState
from tracking.models.inbound import Inbound, InboundState, Nonce, Unmatched
from tracking.models.installation import CheckRun
from tracking.models.intake import IdempotencyKey, Suppression
from tracking.models.leg import Leg
from tracking.models.limits import RateWindow
from tracking.models.login import Login
from tracking.models.message import Attempt, Batch, Content, Event, Message
from tracking.models.outbound import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DisabledReason,
    Endpoint,
    EventType,
    PayloadStyle,
)
from tracking.models.project import ApiKey, Grant, Project, Scope
from tracking.models.push import Device, LogState, PushLog, PushLogPart, PushwooshSettings
from tracking.models.queue import Heartbeat, QueueRow, Switch
from tracking.models.remap import Remap, RemapState
from tracking.models.retention import Erasure, ErasureState, Plan, PurgedWeek, PurgeRun, Retention
from tracking.models.stats import (
    MetricBlock,
    MetricDelta,
    MetricHour,
    MetricKept,
    MetricMinute,
    MetricQuarter,
    MetricSeal,
)
from tracking.models.stream import Follower, StreamEvent
from tracking.models.tracked import TrackedMessage, TrackerListener

__all__ = [
    "ApiKey",
    "Attempt",
    "Batch",
    "ChannelMessage",
    "ChannelSettings",
    "ChatChannel",
    "ChatMember",
    "ChatUser",
    "CheckRun",
    "Consent",
    "ConsentChange",
    "ConsentState",
    "Content",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryState",
    "Device",
    "DisabledReason",
    "Endpoint",
    "Erasure",
    "ErasureState",
    "EngagementSettings",
    "Event",
    "EventType",
    "Export",
    "ExportFormat",
    "ExportState",
    "Follower",
    "Grant",
    "Heartbeat",
    "IdempotencyKey",
    "Inbound",
    "InboundState",
    "Leg",
    "Login",
    "LogState",
    "Membership",
    "Message",
    "MetricBlock",
    "MetricDelta",
    "MetricHour",
    "MetricKept",
    "MetricMinute",
    "MetricQuarter",
    "MetricSeal",
    "Nonce",
    "Plan",
    "PayloadStyle",
    "Project",
    "PurgeRun",
    "PurgedWeek",
    "PushLog",
    "PushLogPart",
    "PushwooshSettings",
    "QueueRow",
    "RateWindow",
    "Remap",
    "RemapState",
    "Retention",
    "Scope",
    "ShortLink",
    "StreamEvent",
    "Suppression",
    "Switch",
    "Tracked",
    "TrackedMessage",
    "TrackerListener",
    "Unmatched",
    "Visit",
]
