"""The ways that a message with a fallback may take, one after the other. Written by record and submit alone.

A small table of its own: messages without a fallback have no row here, except where their parts and prices are kept
(SMSBat's interface).
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Leg(models.Model):
    """Leg 0 is the message's own. `due_at`: when it is taken unless the leg before has delivered until then."""

    pk = models.CompositePrimaryKey("message_id", "number")
    message_id = models.UUIDField()
    number = models.PositiveSmallIntegerField()
    project_id = models.BigIntegerField()
    channel = models.CharField(max_length=10)
    recipient = models.CharField(max_length=500)
    kind = models.CharField(max_length=10, blank=True, default="", help_text="sms, email, push, viber, rcs …")
    provider = models.CharField(max_length=50, blank=True, default="", help_text="The account that was asked for.")
    ttl = models.PositiveIntegerField(null=True, help_text="Seconds that the leg before has for delivering.")
    due_at = models.DateTimeField(null=True)
    taken_at = models.DateTimeField(null=True)
    parts = models.PositiveSmallIntegerField(default=0)
    price = models.DecimalField(max_digits=10, decimal_places=5, default=0, help_text="Of a part.")
    currency = models.CharField(max_length=3, blank=True, default="")

    class Meta:
        db_table = "leg"
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="leg_due")]

    def __str__(self) -> str:
        return f"leg {self.number} of {self.message_id}"
