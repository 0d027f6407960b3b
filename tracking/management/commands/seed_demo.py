"""`manage.py seed_demo`: the project `demo` with sandbox accounts on all four channels. May be run again: what is there
stays as operators have changed it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from providers.base import Channel
from providers.models import ProviderAccount
from tracking.models import Grant, Project

SPEED = 8.0  # the carrier is so much faster than a real one, that a minute shows everything


@dataclass(frozen=True, slots=True)
class Seed:
    code: str
    channel: Channel
    name: str
    weight: int = 100
    price: str = "0"
    settings: dict[str, Any] = field(default_factory=dict)


ACCOUNTS = (
    Seed("sandbox-mail", Channel.EMAIL, "Sandbox mail"),
    # The worse of two: something for the metrics to show. It is used where a message names it, or the first is down.
    Seed("sandbox-mail-2", Channel.EMAIL, "Sandbox mail, in stormy weather", weight=50, settings={"profile": "stormy"}),
    Seed("sandbox-sms", Channel.SMS, "Sandbox SMS", price="0.045", settings={"idempotent": True}),
    Seed("sandbox-push", Channel.PUSH, "Sandbox push", settings={"askable": True}),
    Seed("sandbox-chat", Channel.CHAT, "Sandbox chat", price="0.004"),
)


class Command(BaseCommand):
    help = "Creates the project `demo` and its sandbox accounts where they are missing."

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        project, _ = Project.objects.get_or_create(code="demo", defaults={"name": "Demonstration"})
        for number, seed in enumerate(ACCOUNTS, start=1):
            account = ProviderAccount.objects.filter(code=seed.code).first() or _make(seed, number)
            Grant.objects.get_or_create(project=project, account=account)
        self.stdout.write(f"The project {project.code} has the accounts {', '.join(seed.code for seed in ACCOUNTS)}.")


def _make(seed: Seed, number: int) -> ProviderAccount:
    account = ProviderAccount(
        code=seed.code,
        kind="sandbox",
        channel=seed.channel.value,
        name=seed.name,
        weight=seed.weight,
        price_per_part=Decimal(seed.price),
        settings={"profile": "realistic", "seed": number, "speed": SPEED, **seed.settings},
    )
    account.credentials = {"hook_secret": secrets.token_urlsafe(32)}
    account.full_clean()
    account.save()
    return account
