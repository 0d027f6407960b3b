"""`manage.py ensure_partitions`: make the partitions of the weeks ahead, as the hourly job does."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from tracking import partitions


class Command(BaseCommand):
    help = "Make the partitions of this week and the weeks ahead, where they are missing."

    def handle(self, **options: Any) -> None:
        made = partitions.ensure_ahead()
        for name in made:
            self.stdout.write(f"made {name}")
        self.stdout.write(f"ready for {partitions.weeks_ahead()} weeks after this one")
