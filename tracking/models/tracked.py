"""What DeliveryTracker keeps beside the messages themselves: see services.tracked."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from tracking.models.project import Project


class TrackedMessage(models.Model):
    """A message that DeliveryTracker follows, or (with `stopped_at`) is not to follow any more. Cleanup removes the
    first kind when its time is over; the second stays as long as its message."""

    message_id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    expires_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True)
    endpoints = ArrayField(models.BigIntegerField(), default=list, help_text="Webhooks of this message alone.")

    class Meta:
        db_table = "tracked_message"
        default_permissions = ()
        indexes = [models.Index(fields=["project", "expires_at"], condition=Q(stopped_at=None), name="tracked_expiry")]

    def __str__(self) -> str:
        return str(self.message_id)


class TrackerListener(models.Model):
    """A process in which a started DeliveryTracker hears what others apply to a project's messages."""

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tracker_listeners")
    until = models.DateTimeField(help_text="Renewed while it listens.")

    class Meta:
        db_table = "tracker_listener"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.project_id} until {self.until}"
