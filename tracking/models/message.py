"""The life of a message: Message, Content, Attempt and Event, partitioned by week on the message's UUIDv7.

The tables are made by SQL (migrations/sql, tracking/partitions.py); these classes describe them to Django. Only
`services.record` writes Attempt's facts, Event and Message.status.
"""

from __future__ import annotations

from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q

from providers.base import BounceClass, FailureClass
from providers.models import CHANNELS, ProviderAccount
from tracking import ids
from tracking.models.project import Project
from tracking.statuses import Decision, Status

STATUSES = [(status.value, status.value) for status in Status]


class Batch(models.Model):
    """Messages that were handed in together."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    size = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return f"batch {self.pk}"


class Message(models.Model):
    """One message to one recipient. `created_at` is the id's own time."""

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    account = models.ForeignKey(
        ProviderAccount, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, null=True
    )
    batch = models.ForeignKey(Batch, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, null=True)
    channel = models.CharField(max_length=10, choices=CHANNELS)
    recipient = models.CharField(max_length=500)
    external_id = models.CharField(max_length=200, blank=True, default="")
    category = models.CharField(max_length=100, blank=True, default="")
    template_id = models.CharField(max_length=200, blank=True, default="")
    tags = ArrayField(models.CharField(max_length=100), default=list)
    priority = models.SmallIntegerField(default=5)
    scheduled_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    retry = models.JSONField(null=True)
    # the fold's result
    status = models.CharField(max_length=10, choices=STATUSES)
    reason = models.CharField(max_length=30, blank=True, default="")
    sent_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    # what the fold reads beside the attempts
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Hand-overs on record.")
    decision = models.CharField(max_length=20, choices=[(d.value, d.value) for d in Decision])
    decisions = models.PositiveSmallIntegerField(default=1, help_text="How many decisions were made.")
    decided_after = models.PositiveSmallIntegerField(default=0, help_text="Attempts on record at the last decision.")
    # the budget of automatic retries starts anew with each operator's retry
    budget_from = models.PositiveSmallIntegerField(default=0)
    operator_retries = models.PositiveSmallIntegerField(default=0)
    leg = models.PositiveSmallIntegerField(default=0)
    fallbacks = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="Legs behind the first one.")
    reference = models.CharField(
        max_length=300, blank=True, default="", help_text="The provider's id, of the last attempt that has one."
    )

    class Meta:
        db_table = "message"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["project", "id"], name="message_project"),
            models.Index(fields=["recipient", "id"], name="message_recipient"),
            models.Index(fields=["external_id", "id"], condition=~Q(external_id=""), name="message_external"),
            models.Index(fields=["batch", "id"], condition=Q(batch__isnull=False), name="message_batch"),
            # None of a column that receipts change: every such update would have to be written to all of the indexes.
            models.Index(fields=["account", "id"], name="message_account"),
            models.Index(fields=["category", "id"], condition=~Q(category=""), name="message_category"),
            models.Index(fields=["template_id", "id"], condition=~Q(template_id=""), name="message_template"),
        ]
        permissions = [
            ("retry_message", "Can send messages again"),
            ("resend_message", "Can send copies of messages"),
            ("cancel_message", "Can cancel messages"),
            ("suppress_recipient", "Can suppress a message's recipient"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def created_at(self) -> datetime:
        return ids.time_of(self.id)


class Content(models.Model):
    """Everything of a message that is only needed to send or show it. Kept for a shorter time than Message."""

    message_id = models.UUIDField(primary_key=True, editable=False)
    body = models.JSONField(help_text="sender, reply_to, cc, bcc, headers, subject, text, html, data, variables, …")

    class Meta:
        db_table = "content"

    def __str__(self) -> str:
        return f"content of {self.message_id}"


class Attempt(models.Model):
    """One hand-over to a provider, on record before the provider is called. Facts as in `statuses.Attempt`."""

    pk = models.CompositePrimaryKey("message_id", "number")
    message_id = models.UUIDField()
    number = models.PositiveSmallIntegerField()
    account = models.ForeignKey(ProviderAccount, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    leg = models.PositiveSmallIntegerField(default=0)
    idempotency_key = models.CharField(max_length=60, blank=True, default="")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, help_text="When our call to the provider returned.")
    reference = models.CharField(max_length=300, blank=True, default="")
    accepted_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(null=True)
    clicked_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField(null=True)
    machine_opened_at = models.DateTimeField(null=True)
    hard_bounced_at = models.DateTimeField(null=True)
    bounced_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    unknown_at = models.DateTimeField(null=True)
    complained_at = models.DateTimeField(null=True)
    unsubscribed_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=20, null=True, choices=[(c.value, c.value) for c in FailureClass])  # noqa: DJ001
    bounce = models.CharField(max_length=15, null=True, choices=[(c.value, c.value) for c in BounceClass])  # noqa: DJ001
    cause_at = models.DateTimeField(null=True)
    code = models.CharField(max_length=100, blank=True, default="")
    text = models.CharField(max_length=1000, blank=True, default="")
    parts = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="Counted where they have a price.")
    price = models.DecimalField(
        max_digits=10, decimal_places=5, null=True, help_text="Of a part, when it was handed over. Empty: nobody knows."
    )
    currency = models.CharField(max_length=3, blank=True, default="", db_default="")

    class Meta:
        db_table = "attempt"
        indexes = [
            models.Index(fields=["reference", "account"], condition=~Q(reference=""), name="attempt_reference"),
            models.Index(fields=["account", "message_id"], condition=Q(cause_at__isnull=False), name="attempt_cause"),
            # they stand in the order in which they started: a few kilobytes lead to those that started elsewhere
            BrinIndex(fields=["started_at"], name="attempt_started"),
        ]

    def __str__(self) -> str:
        return f"{self.message_id}.{self.number}"


class Event(models.Model):
    """One recorded fact of a message: a receipt, what a send learned, a decision. Never repeated; what a receipt or a
    refusal is understood as (kind, failure, bounce) changes only with an operator's mapping (services.remap)."""

    pk = models.CompositePrimaryKey("message_id", "dedupe_key")
    message_id = models.UUIDField()
    dedupe_key = models.CharField(max_length=80)
    kind = models.CharField(max_length=20)  # statuses.FactKind or statuses.Decision
    attempt = models.PositiveSmallIntegerField(null=True)
    number = models.PositiveSmallIntegerField(null=True, help_text="Of a decision: its place in their order.")
    occurred_at = models.DateTimeField()
    said_at = models.DateTimeField(null=True, help_text="The time that the receipt gave, before clamping.")
    recorded_at = models.DateTimeField()
    source = models.CharField(max_length=10)  # api, admin, dispatch, provider, job, engagement
    account_id = models.BigIntegerField(null=True)
    inbound_id = models.UUIDField(null=True)
    failure = models.CharField(max_length=20, null=True)  # noqa: DJ001
    bounce = models.CharField(max_length=15, null=True)  # noqa: DJ001
    machine = models.BooleanField(default=False)
    code = models.CharField(max_length=100, blank=True, default="")
    text = models.CharField(max_length=1000, blank=True, default="")
    detail = models.JSONField(null=True)

    class Meta:
        db_table = "event"
        indexes = [  # what no adapter knows: few, so that they are found without a look at all the others
            models.Index(
                fields=["message_id", "dedupe_key"], condition=Q(detail__has_key="unmapped"), name="event_unmapped"
            ),
            models.Index(
                fields=["message_id", "dedupe_key"], condition=Q(detail__has_key="mapped"), name="event_mapped"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.message_id}"
