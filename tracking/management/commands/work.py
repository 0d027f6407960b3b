"""`manage.py work`: declare loops and schedules, then run the django-q2 cluster in the foreground."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from tracking import jobs, partitions


class Command(BaseCommand):
    help = "Run the workers: dispatch, receive and the scheduled jobs. One per installation."

    def handle(self, **options: Any) -> None:
        partitions.ensure_ahead()
        jobs.clear_queue()
        jobs.declare()
        jobs.start_missing()
        call_command("qcluster")
