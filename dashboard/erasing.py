"""What the console keeps of a recipient who is erased: searches in saved views and bulk operations, the words of
incidents and of who was told, and the logs of what operators did. A step of tracking.services.erase, which calls it.
"""

from __future__ import annotations

from uuid import UUID

from auditlog.models import LogEntry
from django.contrib.admin.models import LogEntry as AdminEntry

from dashboard.models import AlertNotification, AlertRule, BulkOperation, Incident, IncidentEvent, SavedView
from tracking.services import erase_texts
from tracking.services.erase_target import Done, Target
from tracking.services.erase_texts import Texts

_TEXTS = (
    Texts(SavedView, ("name", "query"), unique="name"),
    Texts(BulkOperation, ("query", "reason", "fault")),
    Texts(AlertRule, ("fault",)),
    Texts(Incident, ("query", "text")),
    Texts(IncidentEvent, ("text",)),
    Texts(AlertNotification, ("payload", "error")),
    Texts(LogEntry, ("object_repr", "changes", "changes_text")),
    Texts(AdminEntry, ("object_repr", "change_message")),
)


def step(target: Target, place: UUID | None) -> Done:
    return Done(counts=erase_texts.redact(_TEXTS, target.needle))
