"""What is to be sent and when: a small table apart from status, and the switches that hold sending back."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class QueueRow(models.Model):
    """Here exactly while a send is wanted. A lease fences this row and nothing else."""

    message_id = models.UUIDField(primary_key=True, editable=False)
    project_id = models.BigIntegerField()
    account_id = models.BigIntegerField()
    priority = models.SmallIntegerField(default=5)
    due_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "queue"
        indexes = [
            models.Index(
                fields=["account_id", "project_id", "priority", "due_at", "message_id"],
                condition=Q(lease_token=None),
                name="queue_due",
            ),
            models.Index(fields=["account_id", "due_at"], condition=Q(lease_token=None), name="queue_next"),
            models.Index(
                fields=["expires_at"], condition=Q(lease_token=None, expires_at__isnull=False), name="queue_expiry"
            ),
            models.Index(fields=["lease_until"], condition=Q(lease_token__isnull=False), name="queue_leased"),
            models.Index(fields=["account_id"], condition=Q(lease_token__isnull=False), name="queue_in_flight"),
        ]

    def __str__(self) -> str:
        return str(self.message_id)


class Switch(models.Model):
    """One row: what an operator has stopped for the whole installation."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    sending_paused = models.BooleanField(default=False)
    reason = models.CharField(max_length=200, blank=True, default="")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "sending switch"
        verbose_name_plural = "sending switch"

    def __str__(self) -> str:
        return "sending is paused" if self.sending_paused else "sending"


class Heartbeat(models.Model):
    """The last sign of life of a loop or a tick."""

    name = models.CharField(max_length=40, primary_key=True)
    at = models.DateTimeField()
    detail = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name
