"""What providers sent us: raw requests (partitioned by week), receipts that match no attempt, and used nonces."""

from __future__ import annotations

import enum

from django.db import models
from django.db.models import Q

from providers.models import ProviderAccount


class InboundState(enum.StrEnum):
    NEW = "new"
    DONE = "done"
    ERROR = "error"


class Inbound(models.Model):
    """A verified request of a provider, byte for byte. Kept so that a corrected mapping can be run over it again."""

    id = models.UUIDField(primary_key=True, editable=False)
    account = models.ForeignKey(ProviderAccount, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    method = models.CharField(max_length=7)
    url = models.TextField()
    headers = models.JSONField()
    body = models.BinaryField()
    state = models.CharField(max_length=5, choices=[(s.value, s.value) for s in InboundState], default="new")
    receipts = models.PositiveIntegerField(default=0, help_text="How many receipts it held.")
    unmatched = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=1000, blank=True, default="")

    class Meta:
        db_table = "inbound"
        verbose_name = "inbound request"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], condition=Q(state="new"), name="inbound_new"),
            models.Index(fields=["id"], condition=Q(state="error"), name="inbound_error"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Unmatched(models.Model):
    """A receipt whose attempt is not (or not yet) known here. Tried again until `next_try_at` is empty."""

    account = models.ForeignKey(ProviderAccount, on_delete=models.CASCADE)
    inbound_id = models.UUIDField()
    item = models.PositiveIntegerField(help_text="Which receipt of the request, from 0.")
    receipt = models.JSONField()
    why = models.CharField(max_length=100)
    received_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "unmatched receipt"
        constraints = [models.UniqueConstraint(fields=["inbound_id", "item"], name="one_unmatched")]
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(next_try_at__isnull=False), name="unmatched_due"),
        ]

    def __str__(self) -> str:
        return f"receipt {self.item} of {self.inbound_id}"


class Nonce(models.Model):
    """A hook's nonce may be used once, by one body: the guard where a signature does not cover the body."""

    account = models.ForeignKey(ProviderAccount, on_delete=models.CASCADE)
    nonce = models.CharField(max_length=200)
    digest = models.BinaryField(max_length=32)
    seen_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "nonce"], name="one_nonce")]

    def __str__(self) -> str:
        return self.nonce
