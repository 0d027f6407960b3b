"""`manage.py work`: declare loops and schedules, then run the django-q2 cluster in the foreground."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from tracking import jobs


class Command(BaseCommand):
    help = "Run the workers: dispatch, receive and the scheduled jobs. One per installation."

    def handle(self, **options: Any) -> None:
        jobs.run_cluster()
