"""Plain functions that make what a test needs, with everything optional."""

from __future__ import annotations

import itertools
from typing import Any

from providers.models import ProviderAccount
from tracking.models import Grant, Project

_number = itertools.count(1)


def make_project(**kw: Any) -> Project:
    return Project.objects.create(**{"code": f"project-{next(_number)}", **kw})


def make_account(
    project: Project | None = None, *, credentials: dict[str, Any] | None = None, **kw: Any
) -> ProviderAccount:
    """A sandbox account, granted to the project where one is given."""
    account = ProviderAccount(**{"code": f"account-{next(_number)}", "kind": "sandbox", "channel": "email", **kw})
    account.credentials = credentials if credentials is not None else {"hook_secret": "test-hook-secret"}
    account.save()
    if project is not None:
        Grant.objects.create(project=project, account=account)
    return account
