"""`manage.py ensure_partitions`: make the partitions of the weeks ahead now, as the hourly job does."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from tracking import partitions


class Command(BaseCommand):
    help = "Make the partitions of the weeks ahead where they are missing. May be run at any time, also under load."

    def handle(self, **options: Any) -> None:
        made = partitions.ensure_ahead()
        self.stdout.write("\n".join(f"made {name}" for name in made) or "no partition is missing")
