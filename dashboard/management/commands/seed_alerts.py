"""`manage.py seed_alerts`: three alert rules for the demonstration, so that incidents are seen. May be run again: what
is there stays as operators have changed it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from dashboard.models import AlertRule

# A day, of which the made-up history's bad campaign is a part; an hour, in which the others see what is sent now.
RULES: tuple[dict[str, Any], ...] = (
    {"name": "Bounces of a day", "kind": "bounce_high", "threshold": 5.0, "window": 1440, "minimum": 200},
    {"name": "Deliveries of an hour", "kind": "delivery_low", "threshold": 85.0, "window": 60, "minimum": 50},
    {
        **{"name": "No receipts for an hour", "kind": "silent", "threshold": 50.0, "window": 60, "minimum": 20},
        "severity": "critical",
    },
)


class Command(BaseCommand):
    help = "Creates three alert rules for the demonstration where they are missing."

    def handle(self, **options: Any) -> None:
        for rule in RULES:
            AlertRule.objects.get_or_create(name=rule["name"], defaults=rule)
        self.stdout.write(f"There are the alert rules {', '.join(rule['name'] for rule in RULES)}.")
