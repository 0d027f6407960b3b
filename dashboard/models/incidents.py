"""Incidents, what happened to them, what the rules saw, and who was told. Written by dashboard.alerts, incidents and
notify alone."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import models
from django.db.models import F, Q

from dashboard import alert_kinds
from dashboard.models.alerts import SEVERITIES, AlertChannel, AlertRule
from tracking import ids


class Incident(models.Model):
    """A time in which a rule was broken. It keeps what the rule said: the rule may be changed or deleted."""

    rule = models.ForeignKey(AlertRule, on_delete=models.SET_NULL, null=True, related_name="+")
    subject = models.CharField(max_length=40, blank=True, default="", help_text="An account's id, or nothing.")
    subject_name = models.CharField(max_length=100, blank=True, default="")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=20, choices=alert_kinds.CHOICES)
    severity = models.CharField(max_length=10, choices=SEVERITIES)
    threshold = models.FloatField()
    window = models.PositiveSmallIntegerField()
    query = models.CharField(max_length=2_000, blank=True, default="", help_text="The scope of its messages.")
    opened_at = models.DateTimeField()
    last_at = models.DateTimeField(help_text="When it was last too bad.")
    last_value = models.FloatField()
    worst_value = models.FloatField()
    text = models.CharField(max_length=300, blank=True, default="")
    told = models.FloatField(null=True, help_text="How bad it was when somebody was last told.")
    quiet_since = models.DateTimeField(null=True)
    muted_until = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True, default="")
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = [F("closed_at").desc(nulls_first=True), "-pk"]
        permissions = [
            ("acknowledge_incident", "Can acknowledge incidents and add notes"),
            ("mute_incident", "Can mute incidents"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "subject"], condition=Q(closed_at=None), name="one_open_incident_of_a_rule"
            )
        ]
        indexes = [
            models.Index(F("closed_at").desc(nulls_first=True), F("id").desc(), name="incident_open_first"),
            models.Index(fields=["opened_at"], name="incident_opened"),
        ]

    def __str__(self) -> str:
        return f"{self.name}{f': {self.subject_name}' if self.subject_name else ''}"

    @property
    def state(self) -> str:
        if self.closed_at:
            return "closed"
        return "acknowledged" if self.acknowledged_at else "open"

    @property
    def is_muted(self) -> bool:
        return self.muted_until is not None and self.muted_until > datetime.now(UTC)

    @property
    def lasted(self) -> str:
        ended = self.closed_at or datetime.now(UTC)
        return alert_kinds.lasting(round((ended - self.opened_at).total_seconds()))

    @property
    def last_shown(self) -> str:
        return alert_kinds.shown(self.kind, self.last_value)

    @property
    def worst_shown(self) -> str:
        return alert_kinds.shown(self.kind, self.worst_value)

    @property
    def threshold_shown(self) -> str:
        return alert_kinds.shown(self.kind, self.threshold).removeprefix("+")


class IncidentEvent(models.Model):
    """One line of an incident's timeline. `who`: nobody where the rule itself did it."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=15)
    text = models.CharField(max_length=1_000, blank=True, default="")
    who = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.kind} {self.text}".strip()


class AlertReading(models.Model):
    """What a rule saw at an evaluation: the chart of an incident. Kept for two weeks."""

    rule_id = models.BigIntegerField()  # no foreign key: a rule is deleted without them, they go when they are old
    subject = models.CharField(max_length=40, blank=True, default="")
    at = models.DateTimeField()
    value = models.FloatField()

    class Meta:
        indexes = [
            models.Index(fields=["rule_id", "subject", "at"], name="reading_of_a_rule"),
            models.Index(fields=["at"], name="reading_age"),
        ]

    def __str__(self) -> str:
        return f"{self.at}: {self.value}"


class Delivery(models.TextChoices):
    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


class AlertNotification(models.Model):
    """One milestone told through one channel. Its id is the webhook-id of every attempt; what is said is fixed."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    event = models.ForeignKey(
        IncidentEvent, on_delete=models.CASCADE, null=True, related_name="notifications", db_index=False
    )  # None: a test
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, null=True, related_name="notifications")
    channel = models.ForeignKey(AlertChannel, on_delete=models.SET_NULL, null=True, related_name="notifications")
    channel_name = models.CharField(max_length=60)
    milestone = models.CharField(max_length=15)
    payload = models.JSONField()
    state = models.CharField(max_length=10, choices=Delivery.choices, default=Delivery.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "notification"
        ordering = ["-pk"]
        permissions = [("resend_alertnotification", "Can send notifications again")]
        constraints = [models.UniqueConstraint(fields=["event", "channel"], name="one_notification_of_a_milestone")]
        indexes = [
            models.Index(fields=["next_at"], condition=Q(state="waiting"), name="notification_due"),
            models.Index(fields=["channel", "-id"], name="notification_of_a_channel"),
        ]

    def __str__(self) -> str:
        return f"{self.milestone} through {self.channel_name}"

    @property
    def is_due(self) -> bool:
        return self.next_at is not None and self.next_at <= datetime.now(UTC)
