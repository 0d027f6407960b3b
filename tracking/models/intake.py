"""What guards the intake: idempotency keys and the suppression list."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from providers.models import CHANNELS
from tracking.models.project import Project


class IdempotencyKey(models.Model):
    """The first answer to a request, for 24 hours. Holds no recipient."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    digest = models.BinaryField(max_length=32)
    response = models.TextField()  # JSON as it was sent: jsonb would put its keys in another order
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "key"], name="one_idempotency_key")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_age")]

    def __str__(self) -> str:
        return self.key


REASONS = ("hard_bounce", "complaint", "unsubscribed", "manual")


class Suppression(models.Model):
    """A recipient that is not sent to. Found by a keyed hash, so that the address itself can be erased."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    channel = models.CharField(max_length=10, choices=CHANNELS)
    address_hash = models.BinaryField(max_length=32, editable=False)
    address = models.CharField(max_length=500, blank=True, default="")
    reason = models.CharField(max_length=30)  # one of REASONS
    message_id = models.UUIDField(null=True, help_text="The message whose receipt led to it.")
    made_by = models.CharField(max_length=150, blank=True, default="", help_text="The operator, where one added it.")
    note = models.CharField(max_length=300, blank=True, default="", help_text="Why, in the operator's words.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "channel", "address_hash"], name="one_suppression"),
            models.CheckConstraint(condition=~Q(reason=""), name="suppression_has_reason"),
        ]

    def __str__(self) -> str:
        return self.address or "(erased)"
