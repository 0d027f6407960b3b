"""Bulk operations: the dry run, the start, pause, resume and cancel. Called by the admin; bulk_work does them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import islice
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.db.models import Q

from dashboard import dry_run, scope
from dashboard.dry_run import Counted
from dashboard.models import BulkKind, BulkOperation, BulkState
from dashboard.models.bulk import UNFINISHED
from providers.models import ProviderAccount
from tracking import jobs
from tracking.models import Message
from tracking.statuses import RETRYABLE_BY_HAND, Status

TASK = "dashboard.tasks.bulk_slice"
# On which messages each can work at all: only these are collected.
POSSIBLE: Mapping[str, frozenset[Status]] = {
    BulkKind.RETRY: RETRYABLE_BY_HAND,
    BulkKind.RETRY_VIA: RETRYABLE_BY_HAND,
    BulkKind.CANCEL: frozenset({Status.PENDING, Status.PROCESSING}),
}
SAMPLE = 10
CHOICES = 20  # accounts whose cost is shown, while none is chosen


@dataclass(slots=True)
class Cost:
    """What sending through one account costs, with one part for each message; None where no price is set."""

    account: str
    messages: int
    amount: Decimal | None
    currency: str


@dataclass(slots=True)
class Plan:
    """What an operation would do. Where it is not exact there may be more than what was counted. The costs are
    alternatives while the account is still to be chosen."""

    counted: Counted
    statuses: Counter[str] = field(default_factory=Counter)
    possible: int = 0
    sample: list[Message] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        return self.counted.exact

    @property
    def matched(self) -> int:
        return self.counted.matched

    @property
    def by_status(self) -> list[tuple[str, int]]:
        return self.statuses.most_common()


def plan(found: scope.Scope, kind: BulkKind, *, via: ProviderAccount | None = None) -> Plan:
    """The dry run: counts and costs up to a bound, and the newest messages as a sample. Reads only."""
    counted, through = dry_run.count(found), Counter[int | None]()
    made = Plan(counted)
    for (status, account_id), count in counted.groups.items():
        made.statuses[status] += count
        if status in POSSIBLE[kind]:
            through[via.pk if via else account_id] += count
    for rows in counted.parts:
        if len(made.sample) < SAMPLE:
            made.sample += islice(rows.filter(status__in=POSSIBLE[kind])[:SAMPLE], SAMPLE - len(made.sample))
    made.possible = through.total()
    if kind == BulkKind.RETRY_VIA and via is None:  # what it would cost through each that can be chosen
        through = Counter({each.pk: made.possible for each in ProviderAccount.objects.filter(enabled=True)[:CHOICES]})
    made.costs = [] if kind == BulkKind.CANCEL else _costs(through)
    return made


def _costs(through: Counter[int | None]) -> list[Cost]:
    accounts = ProviderAccount.objects.in_bulk([key for key in through if key is not None])
    found = []
    for key, count in through.most_common():
        account = accounts.get(key or 0)
        price = account.price_per_part if account else None
        amount = price * count if price else None
        found.append(Cost(account.code if account else "(gone)", count, amount, account.currency if account else ""))
    return found


def start(
    *,
    kind: BulkKind,
    query: str,
    seen_at: datetime,
    reason: str,
    rate: float,
    token: UUID,
    user: AbstractBaseUser,
    account_id: int | None = None,
) -> tuple[BulkOperation, bool]:
    """The operation, and whether it is new: the same form once more, or an unfinished one of the same scope, is the one
    that is there. `seen_at`: when the dry run was made; nothing that is newer is touched. Raises scope.BadScope."""
    found = scope.read(query, now=min(seen_at, datetime.now(UTC)))
    wish = json.dumps([kind.value, account_id, found.query])
    operation = BulkOperation(
        kind=kind,
        account_id=account_id,
        query=found.frozen,
        reason=reason,
        rate=rate,
        token=token,
        digest=sha256(wish.encode()).hexdigest(),
        created_by_id=user.pk,
        who=user.get_username(),
    )
    same = Q(token=token) | Q(digest=operation.digest, state__in=UNFINISHED)
    while True:
        try:
            with transaction.atomic():
                operation.save(force_insert=True)
                jobs.later(TASK)
            return operation, True
        except IntegrityError:
            operation.pk = None
            standing = BulkOperation.objects.filter(same).order_by("-pk").first()
            if standing is not None:  # else it has ended in this very moment
                return standing, False


def pause(operation_id: int) -> bool:
    """False where it does not run."""
    return bool(BulkOperation.objects.filter(pk=operation_id, state=BulkState.RUNNING).update(state=BulkState.PAUSED))


def resume(operation_id: int) -> bool:
    """False where it is not paused."""
    with transaction.atomic():
        paused = BulkOperation.objects.filter(pk=operation_id, state=BulkState.PAUSED)
        resumed = bool(paused.update(state=BulkState.RUNNING))
        if resumed:
            jobs.later(TASK)
    return resumed


def cancel(operation_id: int) -> bool:
    """What is done stays done. False where it has ended."""
    unfinished = BulkOperation.objects.filter(pk=operation_id, state__in=UNFINISHED)
    return bool(unfinished.update(state=BulkState.CANCELLED, finished_at=datetime.now(UTC)))
