"""`manage.py ingest_mail --account CODE < mail`: take in one bounce, complaint or read receipt, for a pipe transport.

Exit codes are sysexits': 0 stored, 75 (try again) while nothing can be stored, 67 for an unknown account. The mail goes
the same way as a request to the account's hook: stored raw, read by the receive loop.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from providers.base import HookRequest
from providers.models import ProviderAccount
from tracking import wake
from tracking.services import inbound, receive

MAX_BYTES = 10 * 1024 * 1024
NO_SUCH_ACCOUNT, TRY_AGAIN, TOO_LARGE = 67, 75, 65


class Command(BaseCommand):
    help = "Read one RFC 5322 message (DSN, ARF, MDN) from standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", required=True, help="code of the account whose messages it is about")
        parser.add_argument("--now", action="store_true", help="read it at once instead of leaving it to the workers")

    def handle(self, *, account: str, now: bool, **options: Any) -> None:
        mail = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(mail) > MAX_BYTES:
            raise CommandError("the mail is larger than 10 MiB", returncode=TOO_LARGE)
        try:
            found = ProviderAccount.objects.filter(code=account).first()
            if found is None:
                raise CommandError(f"there is no account {account}", returncode=NO_SUCH_ACCOUNT)
            headers = {"content-type": "message/rfc822"}
            hook = HookRequest("POST", found.hook_url, headers, mail, datetime.now(UTC))
            inbound.store(account_id=found.pk, hook=hook)
            if now:
                receive.drain()
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(f"could not be stored, try again: {error}", returncode=TRY_AGAIN) from error
        wake.send(wake.RECEIVE)
