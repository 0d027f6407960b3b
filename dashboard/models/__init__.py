"""The console's own tables, by theme. What became of messages stands in tracking."""

from dashboard.models.alerts import AlertChannel, AlertRule, ChannelKind
from dashboard.models.bulk import BulkItem, BulkKind, BulkOperation, BulkState, Outcome
from dashboard.models.incidents import AlertNotification, AlertReading, Delivery, Incident, IncidentEvent
from dashboard.models.views import SavedView

__all__ = [
    "AlertChannel",
    "AlertNotification",
    "AlertReading",
    "AlertRule",
    "BulkItem",
    "BulkKind",
    "BulkOperation",
    "BulkState",
    "ChannelKind",
    "Delivery",
    "Incident",
    "IncidentEvent",
    "Outcome",
    "SavedView",
]
