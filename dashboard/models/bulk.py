"""Bulk operations: what is done to many messages at once, by whom and why, and what became of each of them.

Written by dashboard.bulk alone.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from providers.models import ProviderAccount


class BulkKind(models.TextChoices):
    RETRY = "retry", "Retry"
    RETRY_VIA = "retry_via", "Retry via another provider"
    CANCEL = "cancel", "Cancel"


class BulkState(models.TextChoices):
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class Outcome(models.TextChoices):
    WAITING = "", "waiting"
    DONE = "done"
    CHANGED = "changed"  # its state had changed since it was collected: it was left alone
    REFUSED = "refused"


UNFINISHED = (BulkState.RUNNING, BulkState.PAUSED)


class BulkOperation(models.Model):
    """First its messages are collected into items, which fixes them; then they are done one by one, in id order."""

    kind = models.CharField(max_length=10, choices=BulkKind.choices)
    account = models.ForeignKey(
        ProviderAccount, on_delete=models.SET_NULL, null=True, related_name="+", help_text="Retry via this one."
    )
    query = models.TextField(help_text="The scope, with a period that does not move on.")
    reason = models.CharField(max_length=300)
    rate = models.FloatField(help_text="Messages a second, at most.")
    state = models.CharField(max_length=10, choices=BulkState.choices, default=BulkState.RUNNING)
    # the same form sent twice, and two operators with the same wish, make one operation
    token = models.UUIDField(unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    # how far collecting, and then doing, have come in the order of ids
    collected_to = models.UUIDField(null=True, editable=False)
    collected_at = models.DateTimeField(null=True, editable=False)
    done_to = models.UUIDField(null=True, editable=False)
    next_at = models.DateTimeField(null=True, editable=False, help_text="When the rate allows the next message.")
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    who = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    fault = models.CharField(max_length=300, blank=True, default="", help_text="Why it ended by itself, not done.")

    class Meta:
        ordering = ["-pk"]
        permissions = [("run_bulkoperation", "Can start, pause, resume and cancel bulk operations")]
        constraints = [
            models.UniqueConstraint(
                fields=["digest"], condition=Q(state__in=["running", "paused"]), name="one_bulk_of_a_scope"
            )
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(state="running"), name="bulk_running"),
        ]

    def __str__(self) -> str:
        return f"bulk operation {self.pk}"

    @property
    def finished(self) -> bool:
        return self.state not in UNFINISHED

    @property
    def handled(self) -> int:
        return self.done + self.changed + self.refused


class BulkItem(models.Model):
    """One message of an operation, as it stood when it was collected."""

    pk = models.CompositePrimaryKey("operation_id", "message_id")
    operation = models.ForeignKey(BulkOperation, on_delete=models.CASCADE, related_name="items", db_index=False)
    message_id = models.UUIDField()
    status = models.CharField(max_length=10)
    decisions = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=10, choices=Outcome.choices, blank=True, default="")
    text = models.CharField(max_length=300, blank=True, default="")
    done_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["operation", "outcome", "message_id"], name="bulk_item_outcome")]

    def __str__(self) -> str:
        return f"{self.message_id} of {self.operation_id}"
