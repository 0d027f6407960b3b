"""`manage.py check_invariants`: recount, and report what disagrees. Exit code 1 if anything does."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand

from tracking.services import check, check_run


def positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


class Command(BaseCommand):
    help = (
        "Compare what is stored with what the raw rows say: statuses with their facts, metrics with a recount, the"
        " queue with what is to be sent. Changes nothing, and may run at any time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--chunk", type=positive, default=check.CHUNK, help="messages read at a time")
        parser.add_argument("--record", action="store_true", help="also keep the result for the system page")
        parser.add_argument(
            "--show", type=positive, default=100, help="how many differences are listed; all are counted"
        )

    def handle(self, *, chunk: int, show: int, record: bool, **options: Any) -> None:
        if record:
            ran = check_run.run()
            self.stdout.write("another check is running" if ran is None else f"{ran.found} differences")
            return
        found = 0
        for found, difference in enumerate(check.differences(chunk), 1):
            if found <= show:
                self.stdout.write(str(difference))
        waiting, given_up = check.unmatched()
        if waiting or given_up:
            self.stdout.write(f"receipts without a message: {waiting} are tried again, {given_up} are not any more")
        self.stdout.write(f"{found} differences" if found else "everything agrees")
        if found:
            sys.exit(1)
