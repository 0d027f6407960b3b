"""Provider accounts and the state of their circuits. Read by tracking and dashboard, changed by admin and dispatch."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.urls import reverse

from providers import base, registry, vault

CHANNELS = [(channel.value, channel.value) for channel in base.Channel]


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
    rate_per_second = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.001)], help_text="Hand-overs a second. Empty: no limit."
    )
    max_in_flight = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(1)], help_text="Hand-overs under way at once, over all workers."
    )
    weight = models.SmallIntegerField(default=100, help_text="Routing takes the healthy account with the highest.")
    price_per_part = models.DecimalField(max_digits=10, decimal_places=5, default=0)
    currency = models.CharField(max_length=3, default="EUR")
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

    @property
    def hook_url(self) -> str:
        """The address that the provider must be given for its receipts."""
        return f"{settings.PUBLIC_URL}{reverse('hook', args=[self.hook_token])}"

    def adapter(self) -> base.Provider:
        """The vendor's adapter, bound to this account."""
        adapter = registry.adapter(self.kind)
        values = {setting.name: setting.default for setting in adapter.settings}
        values |= self.settings | self.credentials
        return adapter(
            base.Account(
                code=self.code,
                kind=self.kind,
                channel=base.Channel(self.channel),
                settings=values,
                hook_url=self.hook_url,
            )
        )


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
