"""Changes of status for those who listen to a project, and which projects have listeners."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tracking.models.project import Project


class StreamEvent(models.Model):
    """One change of a message's status. Written without a number in the transaction that changed it; numbered by the
    publish loop once that is committed (`services.stream`). No recipient: only what the message's status says.

    The table is made by SQL (migrations/0017): `place` is an identity column."""

    pk = models.CompositePrimaryKey("message_id", "place")
    message_id = models.UUIDField()
    place = models.BigIntegerField(help_text="Of one message: in the order of its changes.")
    number = models.BigIntegerField(null=True, help_text="In the order of commits, over all projects.")
    project = models.ForeignKey(Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    channel = models.CharField(max_length=10)
    status = models.CharField(max_length=10)
    previous = models.CharField(max_length=10, null=True, help_text="Empty for a new message.")  # noqa: DJ001
    reason = models.CharField(max_length=30, blank=True, default="")
    at = models.DateTimeField(help_text="When the change was recorded.")

    class Meta:
        db_table = "stream_event"
        default_permissions = ()
        ordering = ["place"]

    def __str__(self) -> str:
        return f"{self.number}: {self.message_id} {self.status}"


class Follower(models.Model):
    """Somebody follows the project: until then its changes are written down, all of those after `floor` can be read."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="follower")
    since = models.DateTimeField(db_default=Now())
    until = models.DateTimeField()
    floor = models.BigIntegerField(default=0, help_text="Up to this number events may be missing or are pruned.")

    class Meta:
        db_table = "stream_follower"
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(floor__gte=0), name="stream_floor_positive")]

    def __str__(self) -> str:
        return f"{self.project_id} until {self.until}"
