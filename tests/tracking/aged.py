"""Messages that were made long ago, through the code that records real ones. For the tests of purge and erasure."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from providers.base import FailureClass
from providers.models import ProviderAccount
from tracking import ids, partitions, store
from tracking.models import Project
from tracking.rows import MessageRow
from tracking.services.record import Record, Source
from tracking.statuses import Decision, Fact, FactKind, Status, fold


def weeks_ago(weeks: int) -> datetime:
    """The middle of the week so many weeks before this one."""
    return partitions.week_start(datetime.now(UTC)) - timedelta(weeks=weeks) + timedelta(days=3)


def make_old(
    project: Project,
    account: ProviderAccount,
    at: datetime,
    *,
    facts: Sequence[FactKind] = (FactKind.ACCEPTED, FactKind.DELIVERED),
    late: datetime | None = None,
    body: dict[str, Any] | None = None,
    text: str = "",
    **kw: Any,
) -> UUID:
    """One message of that moment with one attempt that learned `facts`; `late`: a second attempt, at that moment."""
    partitions.ensure(at, at)
    row = MessageRow(
        **{
            "id": UUID(int=ids.floor(at).int | secrets.randbits(62)),
            "project_id": project.pk,
            "account_id": account.pk,
            "channel": account.channel,
            "recipient": "ada@example.org",
            "status": Status.PENDING,
            "decision": Decision.FOLLOW,
            **kw,
        }
    )
    row.extra = {"external_id": "", "tags": []}
    row.take(fold([], row.decision, 0))
    with transaction.atomic():
        work = Record([])
        work.now = at
        work.add_message(row, source=Source("api"))
        for moment in [at, *([late] if late else [])] if facts else []:
            work.now = moment
            attempt = work.start_attempt(row, account_id=account.pk, idempotency_key="k")
            attempt.finished_at = moment
            for kind in facts:
                failed = FailureClass.PERMANENT if kind is FactKind.FAILED else None
                fact = Fact(kind, moment, failed, None, "550" if failed else "", text)
                work.add_fact(row, attempt, fact, key=f"{kind}:{attempt.facts.number}", source=Source("dispatch"))
        work.save([store.contents({row.id: body or {"text": "Hello", "subject": "Hi"}})])
    return row.id
