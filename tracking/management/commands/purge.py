"""`manage.py purge [--dry-run]`: purges what is past its retention, or says what that would be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tracking.services import purge, purge_plan

SLICE = 15.0  # seconds


class Command(BaseCommand):
    help = "Purge what is past its retention, as the nightly job does."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            self._preview()
            return
        run = purge.start(by="manage.py purge")
        if run is None:
            raise CommandError("a purge is at work already; a worker goes on with one whose process died")
        while not purge.work(run.pk, seconds=SLICE):
            pass
        run.refresh_from_db()
        for name, rows, size in run.dropped:
            self.stdout.write(f"dropped {name} (about {rows} rows, {size} bytes)")
        for code, counts in run.counts.items():
            self.stdout.write(f"deleted of {code}: {_counted(counts)}")
        for text in run.held:
            self.stdout.write(text)
        self.stdout.write("done" if run.finished_at else "the workers go on once the exports are there")

    def _preview(self) -> None:
        found = purge_plan.preview(datetime.now(UTC))
        for each in found:
            step, about = each.step, "about " if each.about else ""
            how = "is dropped whole" if step.whole else f"not dropped whole: {step.why}"
            self.stdout.write(f"{step.kind} of the week from {step.week:%Y-%m-%d}: {how}")
            self.stdout.write(f"  {about}{_counted(each.rows)}")
            for code, count in each.projects.items():
                self.stdout.write(f"  {code}: {count} messages")
        if not found:
            self.stdout.write("nothing is past its retention")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{table} {count}" for table, count in counts.items()) or "no rows"
