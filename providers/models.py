"""Provider accounts, the state of their circuits, and what operators said of vendors' codes that no adapter knows.

Read by tracking and dashboard, changed by the admin, `rotation` and dispatch.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.urls import reverse

from providers import base, mapping, registry, vault

CHANNELS = [(channel.value, channel.value) for channel in base.Channel]
SERVICES = ("viber", "rcs", "flashcall", "telegram")


def new_hook_token() -> str:
    return secrets.token_urlsafe(24)


class ProviderAccount(models.Model):
    """One account at one provider: how to reach it, how fast, at what price."""

    code = models.SlugField(max_length=50, unique=True, validators=[RegexValidator(r"^[a-z0-9][a-z0-9-]*$")])
    kind = models.CharField(max_length=30)
    channel = models.CharField(max_length=10, choices=CHANNELS)
    name = models.CharField(max_length=100, blank=True, default="")
    enabled = models.BooleanField(default=True)
    settings = models.JSONField(default=dict, blank=True)
    sealed_credentials = models.TextField(blank=True, default="", editable=False)
    hook_token = models.CharField(max_length=64, unique=True, default=new_hook_token, editable=False)
    hook_token_previous = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001
    previous_until = models.JSONField(
        default=dict, editable=False, help_text="Name of what was rotated → until when the old one is accepted."
    )
    rate_per_second = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.001)], help_text="Hand-overs a second. Empty: no limit."
    )
    max_in_flight = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(1)], help_text="Hand-overs under way at once, over all workers."
    )
    weight = models.SmallIntegerField(default=100, help_text="Routing takes the healthy account with the highest.")
    price_per_part = models.DecimalField(max_digits=10, decimal_places=5, default=0)
    currency = models.CharField(max_length=3, default="EUR")
    service = models.CharField(
        max_length=10,
        blank=True,
        default="",
        choices=[(service, service) for service in SERVICES],
        help_text="What a chat account carries, for callers of SMSBat's interface. Empty: any of them.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["code"]
        permissions = [
            ("test_provideraccount", "Can send a test message through an account"),
            ("reset_circuit", "Can reset the circuit of an account"),
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def credentials(self) -> dict[str, Any]:
        return vault.unseal(self.sealed_credentials)

    @credentials.setter
    def credentials(self, value: dict[str, Any]) -> None:
        self.sealed_credentials = vault.seal(value)

    def accepts_previous(self, name: str) -> bool:
        """Whether the value before the last rotation still counts. Without an end it does until an operator ends it."""
        until = self.previous_until.get(name)
        return until is None or datetime.fromisoformat(until) > datetime.now(UTC)

    @property
    def hook_tokens(self) -> tuple[str, ...]:
        """Those that receipts may come to: the current one first."""
        previous = self.hook_token_previous if self.accepts_previous("hook_token") else None
        return (self.hook_token, previous) if previous else (self.hook_token,)

    @property
    def hook_url(self) -> str:
        """The address that the provider must be given for its receipts."""
        return f"{settings.PUBLIC_URL}{reverse('hook', args=[self.hook_token])}"

    def adapter(self) -> base.Provider:
        """The vendor's adapter, bound to this account."""
        adapter = registry.adapter(self.kind)
        values = {setting.name: setting.default for setting in adapter.settings}
        values |= self.settings
        values |= {name: value for name, value in self.credentials.items() if self._counts(name)}
        return adapter(
            base.Account(
                code=self.code,
                kind=self.kind,
                channel=base.Channel(self.channel),
                settings=values,
                hook_url=self.hook_url,
            )
        )

    def _counts(self, credential: str) -> bool:
        return not credential.endswith(base.PREVIOUS) or self.accepts_previous(credential.removesuffix(base.PREVIOUS))


class Circuit(models.Model):
    """What dispatch knows of an account from one send to the next. Kept apart from what operators edit."""

    account = models.OneToOneField(ProviderAccount, on_delete=models.CASCADE, primary_key=True)
    next_slot_at = models.DateTimeField(null=True, help_text="When the rate limit allows the next hand-over.")
    failures = models.PositiveIntegerField(default=0, help_text="Failures of the account itself in a row.")
    open_until = models.DateTimeField(null=True, help_text="No hand-over before this moment.")
    opened_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        verbose_name = "circuit"

    def __str__(self) -> str:
        return f"{self.account_id}: {'open' if self.open_until else 'closed'}"


class ErrorMapping(models.Model):
    """What an operator says that a vendor's word, code or text means. It counts where the adapter does not know."""

    OUTCOMES = [(kind.value, kind.value) for kind in mapping.OUTCOMES]
    FAILURES = [(failure.value, failure.value) for failure in mapping.FAILURES]

    kind = models.CharField(max_length=30)
    word = models.CharField(max_length=100, blank=True, default="", help_text="The vendor's own word. Empty: any.")
    code = models.CharField(max_length=100, blank=True, default="", help_text="Exactly. Empty: any.")
    phrase = models.CharField(
        max_length=200, blank=True, default="", help_text="Words that the text holds, in any case. Empty: any text."
    )
    outcome = models.CharField(
        max_length=10,
        blank=True,
        default="",
        choices=OUTCOMES,
        help_text="What has happened. Empty: what the adapter takes the receipt for.",
    )
    failure = models.CharField(max_length=20, choices=FAILURES, default=base.FailureClass.PERMANENT.value)
    bounce = models.CharField(
        max_length=15,
        choices=[(bounce.value, bounce.value) for bounce in base.BounceClass],
        default=base.BounceClass.UNDETERMINED.value,
    )
    suppress = models.BooleanField("address is bad", default=False, help_text="Its recipients are suppressed.")
    account_fault = models.BooleanField(
        "account is bad", default=False, help_text="On a hand-over it counts for the circuit, and spares the recipient."
    )
    note = models.CharField(max_length=300, blank=True, default="", help_text="Where the meaning comes from.")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["kind", "word", "code", "phrase"]
        verbose_name = "vendor code"
        constraints = [
            models.UniqueConstraint(fields=["kind", "word", "code", "phrase"], name="one_error_mapping"),
            models.CheckConstraint(condition=~models.Q(word="", code="", phrase=""), name="error_mapping_says_of_what"),
        ]

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.word, self.code, self.phrase)))

    def rule(self) -> mapping.Rule:
        return mapping.Rule(
            id=self.pk or 0,
            word=self.word,
            code=self.code,
            phrase=self.phrase,
            outcome=base.ReceiptKind(self.outcome) if self.outcome else None,
            meaning=base.Classification(
                base.FailureClass(self.failure), base.BounceClass(self.bounce), self.suppress, self.account_fault
            ),
        )
