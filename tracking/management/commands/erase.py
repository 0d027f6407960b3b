"""`manage.py erase PROJECT CHANNEL`: erases a recipient.

It is read from standard input: a command line would show it to everybody on the machine.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from providers.models import CHANNELS
from tracking.models import Erasure, ErasureState, Project
from tracking.schema import Invalid
from tracking.services import erase

SLICE = 15.0  # seconds


class Command(BaseCommand):
    help = "Erase a recipient, given on standard input, and print the certificate."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", help="its code")
        parser.add_argument("channel", choices=[channel for channel, _ in CHANNELS])
        parser.add_argument("--by", default="manage.py erase", help="who asked for it")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(code=options["project"]).first()
        if project is None:
            raise CommandError("there is no such project")
        recipient = sys.stdin.readline().strip()
        try:
            erasure = erase.start(project=project, channel=options["channel"], recipient=recipient, by=options["by"])
        except Invalid as invalid:
            raise CommandError(f"the recipient {invalid.errors[0].detail}") from None
        while not erase.work(erasure.pk, seconds=SLICE):
            pass
        erasure = Erasure.objects.select_related("project").get(pk=erasure.pk)
        self.stdout.write(json.dumps(erase.shape(erasure), indent=2, default=str))
        if erasure.state != ErasureState.DONE:
            self.stdout.write("the workers go on: a message is just being sent, or they are at it already")
