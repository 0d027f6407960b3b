"""`python -m tests.e2e.furnish < wanted.json`: makes tables, a project, its key and its accounts in the database that
DATABASE_URL names, and prints what a test must know of them. A process of its own, because the test's Django is bound
to another database. Called by harness.Stack only."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from typing import Any

import django
import orjson


def account(project: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    from providers.models import ProviderAccount
    from tracking.models import Grant

    credentials = wanted.pop("credentials", {})
    made = ProviderAccount(**wanted)
    made.credentials = credentials
    made.full_clean()
    made.save()
    Grant.objects.create(project=project, account=made)
    return {
        "id": made.pk,
        "code": made.code,
        "kind": made.kind,
        "channel": made.channel,
        "settings": dict(made.adapter().account.settings),
        "hook_url": made.hook_url,
    }


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    wanted = orjson.loads(sys.stdin.buffer.read())
    with redirect_stdout(sys.stderr):
        django.setup()
        from django.core.management import call_command

        from tracking.models import Project
        from tracking.services import keys

        call_command("migrate", interactive=False, verbosity=0)
        call_command("ensure_partitions")
        project = Project.objects.create(code="e2e", retry=wanted["retry"])
        made = {
            "key": keys.create(project=project, name="e2e"),
            "accounts": [account(project, one) for one in wanted["accounts"]],
        }
    sys.stdout.buffer.write(orjson.dumps(made))


if __name__ == "__main__":
    main()
