"""Alert rules and the channels that tell of incidents. Changed by the admin and, for what a rule last saw, by
dashboard.alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from dashboard import alert_kinds
from dashboard.models.views import SavedView
from providers import vault

SEVERITIES = [(name, name) for name in alert_kinds.SEVERITIES]
LONGEST_QUIET = 1_440  # minutes


class ChannelKind(models.TextChoices):
    EMAIL = "email", "E-mail"
    WEBHOOK = "webhook", "Webhook, signed"
    SLACK = "slack", "Slack-compatible webhook"


class AlertChannel(models.Model):
    """Where incidents are told. Addresses of webhooks are secrets too: whoever knows one can post to it."""

    name = models.CharField(max_length=60, unique=True)
    kind = models.CharField(max_length=10, choices=ChannelKind.choices)
    recipients = models.CharField(
        max_length=1_000, blank=True, default="", help_text="Of an e-mail channel, with commas between them."
    )
    sealed = models.TextField(blank=True, default="", editable=False)  # {"url": …, "secret": …}
    least = models.CharField(
        "from severity", max_length=10, choices=SEVERITIES, default="info", help_text="Less severe ones are not told."
    )
    allow_private = models.BooleanField(
        "private addresses",
        default=False,
        help_text="Lets Postroom call private and loopback addresses, and plain http, for this channel.",
    )
    enabled = models.BooleanField(default=True)
    fault = models.CharField(max_length=300, blank=True, default="", editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "alert channel"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def secrets(self) -> dict[str, Any]:
        """Raises vault.SealBroken."""
        return vault.unseal(self.sealed)

    @secrets.setter
    def secrets(self, value: dict[str, Any]) -> None:
        self.sealed = vault.seal(value)

    @property
    def target(self) -> str:
        """As much of it as may be seen."""
        if self.kind == ChannelKind.EMAIL:
            return self.recipients
        try:
            return f"{urlsplit(self.secrets.get('url', '')).hostname or ''}/…"
        except (vault.SealBroken, ValueError):
            return "cannot be opened: CREDENTIALS_KEYS lacks the key that sealed it"


class AlertRule(models.Model):
    """What is too bad. Built-in rules come with the installation and stay."""

    name = models.CharField(max_length=80, unique=True)
    kind = models.CharField(max_length=20, choices=alert_kinds.CHOICES)
    view = models.ForeignKey(
        SavedView,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="saved view",
        help_text="Of projects, channels, accounts, templates or categories alone. None: everything.",
    )
    metric = models.CharField(max_length=30, blank=True, default="", help_text="Which one is unusual.")
    threshold = models.FloatField(validators=[MinValueValidator(0.001), MaxValueValidator(10_000_000)])
    window = models.PositiveSmallIntegerField(choices=list(alert_kinds.WINDOWS.items()), default=15)
    minimum = models.PositiveIntegerField(
        "minimum volume",
        default=50,
        validators=[MaxValueValidator(1_000_000_000)],
        help_text="Fewer messages in the window say nothing.",
    )
    severity = models.CharField(max_length=10, choices=SEVERITIES, default="warning")
    quiet = models.PositiveSmallIntegerField(
        "quiet time",
        default=10,
        validators=[MaxValueValidator(LONGEST_QUIET)],
        help_text="Minutes without a breach after which an incident closes.",
    )
    channels = models.ManyToManyField(AlertChannel, blank=True, related_name="+", help_text="None chosen: all.")
    enabled = models.BooleanField(default=True)
    muted_until = models.DateTimeField(null=True, blank=True, editable=False)
    built_in = models.BooleanField(default=False, editable=False)
    # what it last saw
    checked_at = models.DateTimeField(null=True, editable=False)
    value = models.FloatField(null=True, editable=False)
    volume = models.BigIntegerField(null=True, editable=False)
    fault = models.CharField(max_length=300, blank=True, default="", editable=False)

    class Meta:
        verbose_name = "alert rule"
        ordering = ["name"]
        permissions = [("mute_alertrule", "Can mute alert rules")]
        constraints = [
            models.CheckConstraint(
                condition=Q(built_in=False) | Q(enabled=True, view=None), name="built_in_rules_stay_on"
            ),
            models.UniqueConstraint(fields=["kind"], condition=Q(built_in=True), name="one_built_in_rule_of_a_kind"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_muted(self) -> bool:
        return self.muted_until is not None and self.muted_until > datetime.now(UTC)

    @property
    def shape(self) -> alert_kinds.Kind:
        return alert_kinds.KINDS[self.kind]
