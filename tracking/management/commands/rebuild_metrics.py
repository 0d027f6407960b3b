"""`manage.py rebuild_metrics`: correct the metrics of a period by a recount of the raw rows, beside live traffic."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tracking.services import rollup


def moment(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no date or time, such as 2026-03-01 or 2026-03-01T14:00+01:00") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = (
        "Recount the metrics of a period from the raw rows and correct what differs, hour by hour. Sealed hours stay as"
        " they are. May run at any time: nothing is stopped, lost or counted twice."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", type=moment, required=True, help="UTC where no offset is given")
        parser.add_argument("--until", type=moment, default=None, help="now, where it is left out")

    def handle(self, *, since: datetime, until: datetime | None, **options: Any) -> None:
        until = until or datetime.now(UTC)
        if since >= until:
            raise CommandError("--since: must be before --until")
        hours = corrected = 0
        for hour, wrong in rollup.rebuild(since, until):
            hours += 1
            corrected += wrong
            if wrong:
                self.stdout.write(f"{hour.isoformat(timespec='minutes')}: {wrong} corrected")
        self.stdout.write(f"{hours} hours recounted, {corrected} buckets corrected")
