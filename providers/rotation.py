"""Changing what proves receipts without losing one: the old value is accepted beside the new one for a while.

Called by the admin (rotate, end) and by the pruning job. What is rotated: the settings that adapters declare with
`rotates`, and the token in the hook's address, here under the name `hook_token`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction

from providers import base, registry
from providers.models import ProviderAccount, new_hook_token
from providers.vault import SealBroken

HOOK_TOKEN = "hook_token"  # noqa: S105


class Refused(ValueError):
    """The text says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Rotating:
    """Something that can be rotated, and whether its old value is accepted beside it."""

    name: str
    label: str
    made_here: bool  # else the vendor makes it, and the operator brings it
    is_set: bool
    previous: bool
    until: datetime | None  # None with `previous`: until an operator ends it


def of(account: ProviderAccount) -> Sequence[Rotating]:
    """Everything of the account that can be rotated. Raises vault.SealBroken, registry.UnknownKind, ImportError."""
    adapter, credentials = registry.adapter(account.kind), account.credentials
    found = [
        Rotating(
            setting.name,
            setting.label,
            bool(adapter.new_secret(setting.name)),
            bool(credentials.get(setting.name)),
            bool(credentials.get(f"{setting.name}{base.PREVIOUS}")) and account.accepts_previous(setting.name),
            _until(account, setting.name),
        )
        for setting in adapter.settings
        if setting.rotates
    ]
    if adapter.sends_receipts:
        previous = len(account.hook_tokens) > 1
        found.append(Rotating(HOOK_TOKEN, "Hook address", True, True, previous, _until(account, HOOK_TOKEN)))
    return found


def _until(account: ProviderAccount, name: str) -> datetime | None:
    until = account.previous_until.get(name)
    return datetime.fromisoformat(until) if until else None


def rotate(*, account_id: int, name: str, days: int, value: str = "") -> str:
    """The new value, which is to be shown once: `value`, or one that is made here. Raises Refused."""
    with transaction.atomic():
        account, item = _locked(account_id, name)
        if item.previous:
            raise Refused(f"{item.label}: the one before is still accepted. End it first: only two count at once.")
        until = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
        if item.name == HOOK_TOKEN:
            account.hook_token_previous, account.hook_token = account.hook_token, new_hook_token()
            new = account.hook_url
        else:
            new = _change(account, item, value)
        account.previous_until = {**account.previous_until, name: until}
        account.save()
    return new


def _change(account: ProviderAccount, item: Rotating, value: str) -> str:
    adapter, credentials = registry.adapter(account.kind), account.credentials
    new = value or adapter.new_secret(item.name)
    if not new:
        raise Refused(f"{item.label}: the provider makes it, so it must be entered here.")
    if new == credentials.get(item.name):
        raise Refused(f"{item.label}: this is the one that is used already.")
    if complaint := adapter.check({**account.settings, **credentials, item.name: new}).get(item.name):
        raise Refused(f"{item.label}: {complaint}")
    previous = credentials.get(item.name)
    account.credentials = {
        **credentials,
        item.name: new,
        **({f"{item.name}{base.PREVIOUS}": previous} if previous else {}),
    }
    return new


def end(*, account_id: int, name: str) -> None:
    """The old value is no longer accepted, and forgotten. Raises Refused."""
    with transaction.atomic():
        account, _ = _locked(account_id, name)
        _forget(account, [name])


def forget_expired() -> int:
    """Erase old values whose time is over; of how many accounts."""
    forgotten = 0
    for pk in ProviderAccount.objects.exclude(previous_until={}).values_list("pk", flat=True):
        with transaction.atomic():
            account = ProviderAccount.objects.select_for_update().get(pk=pk)
            over = [name for name in account.previous_until if not account.accepts_previous(name)]
            with suppress(SealBroken):  # what nobody can open proves nothing either
                forgotten += _forget(account, over) if over else 0
    return forgotten


def _forget(account: ProviderAccount, names: Sequence[str]) -> int:
    if HOOK_TOKEN in names:
        account.hook_token_previous = None
    secrets = {f"{name}{base.PREVIOUS}" for name in names}
    if secrets & account.credentials.keys():
        account.credentials = {name: value for name, value in account.credentials.items() if name not in secrets}
    account.previous_until = {name: at for name, at in account.previous_until.items() if name not in names}
    account.save()
    return 1


def _locked(account_id: int, name: str) -> tuple[ProviderAccount, Rotating]:
    account = ProviderAccount.objects.select_for_update().get(pk=account_id)
    item = next((each for each in of(account) if each.name == name), None)
    if item is None:
        raise Refused("There is nothing of that name to rotate.")
    return account, item
