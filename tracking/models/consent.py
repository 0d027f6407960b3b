"""What recipients allow: one row for each recipient and purpose, and every change of it."""

from __future__ import annotations

import enum

from django.db import models

from providers.models import CHANNELS
from tracking.models.project import Project


class ConsentState(enum.StrEnum):
    GRANTED = "granted"
    WITHDRAWN = "withdrawn"
    REMOVED = "removed"  # nothing is known (any more); the row stays for its history


STATES = [(state.value, state.value) for state in ConsentState]


class Consent(models.Model):
    """Found by a keyed hash, as suppressions are, so that the address itself can be erased."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    channel = models.CharField(max_length=10, choices=CHANNELS)
    address_hash = models.BinaryField(max_length=32, editable=False)
    address = models.CharField(max_length=500, blank=True, default="")
    purpose = models.CharField(max_length=100)
    state = models.CharField(max_length=10, choices=STATES)
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "channel", "address_hash", "purpose"], name="one_consent"),
        ]
        indexes = [
            models.Index(fields=["project", "id"], name="consent_project"),
            models.Index(fields=["project", "purpose", "id"], name="consent_purpose"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose}: {self.address or '(erased)'}"


class ConsentChange(models.Model):
    """One change of a consent: who said so. Holds no recipient, unless an operator's note names one."""

    consent = models.ForeignKey(Consent, on_delete=models.CASCADE, related_name="changes")
    state = models.CharField(max_length=10, choices=STATES)
    at = models.DateTimeField()
    source = models.CharField(max_length=10)  # api, admin, engagement
    who = models.CharField(max_length=150, blank=True, default="", help_text="The operator, or the key's prefix.")
    message_id = models.UUIDField(null=True, help_text="The message by which the recipient unsubscribed.")
    note = models.CharField(max_length=300, blank=True, default="", help_text="Why, in the operator's words.")

    class Meta:
        db_table = "tracking_consent_change"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.state} at {self.at:%Y-%m-%d %H:%M}"
