"""`manage.py seed_history`: two weeks of made-up messages before the first real one of the project `demo`, so that the
console's pages look like those of a real day: a daily rhythm, incidents of providers, a bad campaign."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from providers.models import ProviderAccount
from tracking.models import Message, Project
from tracking.services import history


class Command(BaseCommand):
    help = "Writes some 14 days of history for the project `demo`, once: where it has messages, nothing is done."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=14, help="how far back it goes")
        parser.add_argument("--messages", type=int, default=20_000, help="how many, about")

    def handle(self, *, days: int, messages: int, **options: Any) -> None:
        if not 1 <= days <= 60 or not 1 <= messages <= 1_000_000:
            raise CommandError("--days: from 1 to 60; --messages: from 1 to 1,000,000")
        project = Project.objects.filter(code="demo").first()
        if project is None:
            raise CommandError("There is no project demo: run `manage.py seed_demo` first.")
        if Message.objects.order_by().filter(project=project).exists():
            self.stdout.write("The project demo has messages: no history is made up.")
            return
        accounts = list(ProviderAccount.objects.filter(kind="sandbox", grant__project=project).order_by("pk"))
        until = datetime.now(UTC) - timedelta(minutes=2)
        written = history.write(project=project, accounts=accounts, days=days, messages=messages, until=until)
        self.stdout.write(f"Made up {written:,} messages of the last {days} days.")
