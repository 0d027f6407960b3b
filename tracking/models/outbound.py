"""Outgoing webhooks: endpoints, what is to be told to each of them, and every attempt to tell it."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from providers import vault
from tracking import ids
from tracking.models.project import Project

_NOTHING: dict[str, Any] = {"secret": "", "previous": "", "headers": {}}


class EventType(enum.StrEnum):
    SENT = "notification.sent"
    DELIVERED = "notification.delivered"
    FAILED = "notification.failed"
    BOUNCED = "notification.bounced"
    READ = "notification.read"
    OPENED = "notification.opened"
    CLICKED = "notification.clicked"
    UNSUBSCRIBED = "notification.unsubscribed"
    COMPLAINED = "notification.complained"
    CANCELLED = "notification.cancelled"
    UNKNOWN = "notification.unknown"
    EXPORT_COMPLETE = "export.complete"


TEST = "webhook.test"  # sent on demand; nobody subscribes to it


class DisabledReason(enum.StrEnum):
    """Why an endpoint was switched off by itself."""

    GONE = "gone"  # it answered 410
    FAILING = "failing"  # nothing but failures for days


class PayloadStyle(enum.StrEnum):
    """The form in which an endpoint is told."""

    STANDARD = "standard"
    SMSBAT = "smsbat"


class DeliveryState(enum.StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Endpoint(models.Model):
    """Where a project wants to be told, and of what. `sealed`: its secrets, and its own headers, which may be some."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="endpoints")
    url = models.CharField(max_length=2000)
    events = ArrayField(models.CharField(max_length=40))
    description = models.CharField(max_length=200, blank=True, default="")
    style = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in PayloadStyle], default="standard", db_default="standard"
    )
    sealed = models.TextField(editable=False)
    previous_until = models.DateTimeField(null=True, help_text="Until then the secret before this one signs too.")
    max_in_flight = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(1), MaxValueValidator(32)], help_text="Calls under way at once."
    )
    active = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=10, blank=True, default="")
    disabled_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True, help_text="The first failure since the last success.")
    last_attempt_at = models.DateTimeField(null=True)
    hold_until = models.DateTimeField(null=True, help_text="It asked by Retry-After not to be called before.")
    deleted_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    # only of those that single messages name (services.message_webhooks)
    digest = models.CharField(max_length=64, default="", db_default="", editable=False)
    timeout = models.FloatField(null=True, help_text="Seconds for a whole call.")
    retries = models.PositiveSmallIntegerField(null=True, help_text="Calls after the first.")
    unused_after = models.DateTimeField(null=True, help_text="No message names it any more from then on.")

    class Meta:
        db_table = "webhook_endpoint"
        verbose_name = "webhook endpoint"
        ordering = ["-id"]
        permissions = [
            ("test_endpoint", "Can send a test to a webhook endpoint"),
            ("switch_endpoint", "Can activate and deactivate webhook endpoints"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "digest"], condition=~Q(digest="") & Q(deleted_at=None), name="webhook_of_messages"
            )
        ]

    def __str__(self) -> str:
        return self.url

    @property
    def opened(self) -> dict[str, Any]:
        """`secret`, `previous`, `headers`. Raises vault.SealBroken."""
        return {**_NOTHING, **vault.unseal(self.sealed)}

    @property
    def known(self) -> dict[str, Any]:
        """As `opened`, and nothing where the seal is broken: a new secret must be possible then."""
        try:
            return self.opened
        except vault.SealBroken:
            return _NOTHING

    def seal(self, **values: Any) -> None:
        self.sealed = vault.seal({**self.known, **values})


class Delivery(models.Model):
    """One event for one endpoint. Its id is the webhook-id, the same at every attempt. While it is being sent,
    `lease` is set and `next_try_at` is the end of the lease: one that nobody finishes is simply due again."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    endpoint = models.ForeignKey(
        Endpoint, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="deliveries"
    )
    message_id = models.UUIDField(null=True)
    event = models.CharField(max_length=40)
    payload = models.JSONField()
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in DeliveryState], default="pending")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Since it was made or replayed.")
    next_try_at = models.DateTimeField()
    lease = models.UUIDField(null=True)

    class Meta:
        db_table = "webhook_delivery"
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        ordering = ["-id"]
        permissions = [("replay_delivery", "Can replay webhook deliveries")]
        indexes = [
            models.Index(fields=["endpoint", "next_try_at"], condition=Q(state="pending"), name="webhook_due"),
            models.Index(fields=["endpoint"], condition=Q(lease__isnull=False), name="webhook_in_flight"),
            models.Index(fields=["endpoint", "id"], name="webhook_endpoint_id"),
            models.Index(fields=["endpoint", "id"], condition=Q(state="failed"), name="webhook_failed"),
            models.Index(fields=["message_id"], condition=Q(message_id__isnull=False), name="webhook_message"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def created_at(self) -> datetime:
        return ids.time_of(self.pk)


class DeliveryAttempt(models.Model):
    """One call of an endpoint. `status`: of its answer; empty where there was none, and `error` says why."""

    delivery = models.ForeignKey(Delivery, on_delete=models.DO_NOTHING, db_constraint=False, related_name="tries")
    at = models.DateTimeField()
    milliseconds = models.PositiveIntegerField()
    status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=300, blank=True, default="")
    answer = models.CharField(max_length=1000, blank=True, default="", help_text="How the answer's body begins.")

    class Meta:
        db_table = "webhook_attempt"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.delivery_id} {self.status or self.error}"
