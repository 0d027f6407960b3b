"""Provider accounts with their adapters and mapped codes, kept for two seconds in each process.

Called by hooks, receive, remap and dispatch. Opening the sealed credentials for every receipt would cost more than
storing it; two seconds is what an operator's change takes to reach every process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from providers.base import Provider
from providers.mapping import Rule, in_order
from providers.models import ErrorMapping, ProviderAccount
from providers.vault import SealBroken

log = logging.getLogger(__name__)
KEPT = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Bound:
    """An account and its adapter."""

    account: ProviderAccount
    adapter: Provider


class _Book:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._by_id: dict[int, Bound] = {}
        self._by_token: dict[str, Bound] = {}
        self._rules: dict[str, Sequence[Rule]] = {}

    def refresh(self) -> None:
        if time.monotonic() < self._until:
            return
        with self._lock:
            if time.monotonic() < self._until:
                return
            bound = [found for account in ProviderAccount.objects.all() if (found := _bind(account))]
            self._by_id = {item.account.pk: item for item in bound}
            self._by_token = {token: item for item in bound for token in item.account.hook_tokens}
            self._rules = _rules()
            self._until = time.monotonic() + KEPT

    def by_id(self, account_id: int) -> Bound | None:
        self.refresh()
        return self._by_id.get(account_id)

    def by_token(self, token: str) -> Bound | None:
        self.refresh()
        return self._by_token.get(token)

    def rules(self, account_id: int) -> Sequence[Rule]:
        """What operators said of codes that the account's adapter does not know."""
        bound = self.by_id(account_id)
        return self._rules.get(bound.account.kind, ()) if bound else ()

    def forget(self) -> None:
        self._until = 0.0


def _rules() -> dict[str, Sequence[Rule]]:
    by_kind: dict[str, list[Rule]] = {}
    for stored in ErrorMapping.objects.order_by():
        by_kind.setdefault(stored.kind, []).append(stored.rule())
    return {kind: in_order(rules) for kind, rules in by_kind.items()}


def _bind(account: ProviderAccount) -> Bound | None:
    try:
        return Bound(account, account.adapter())
    except (LookupError, SealBroken, ImportError) as error:
        log.error("account %s cannot be used: %r", account.code, error)
        return None


_book = _Book()
by_id = _book.by_id
by_token = _book.by_token
rules = _book.rules
forget = _book.forget
