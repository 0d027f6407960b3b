"""Helpers of the tests that follow a message through its life, without the API."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from providers.base import FailureClass
from providers.models import ProviderAccount
from tracking import ids, store
from tracking.models import Message, Project, QueueRow
from tracking.rows import MessageRow
from tracking.services.record import Record, Source
from tracking.statuses import Decision, Fact, FactKind, Status


def queue_message(project: Project, account: ProviderAccount, *, due_at: datetime | None = None, **kw: Any) -> UUID:
    """A message that waits to be sent, as submit leaves it."""
    body = kw.pop("body", {"subject": "Hello", "text": "Hello there", "sender": "ops@example.com"})
    row = MessageRow(
        **{
            "id": ids.new(),
            "project_id": project.pk,
            "account_id": account.pk,
            "channel": account.channel,
            "recipient": "ada@example.com",
            "status": Status.PENDING,
            "decision": Decision.QUEUE,
            **kw,
        }
    )
    row.extra = {"external_id": "", "tags": []}
    with transaction.atomic():
        work = Record([])
        work.add_message(row, source=Source("api"))
        work.save()
        store.write([store.contents({row.id: body})])
        QueueRow.objects.create(
            message_id=row.id,
            project_id=project.pk,
            account_id=account.pk,
            priority=row.priority,
            due_at=due_at or datetime.now(UTC),
            expires_at=row.expires_at,
        )
    return row.id


def status_of(message_id: UUID) -> str:
    return Message.objects.get(pk=message_id).status


def fail(key, *, kind: FactKind = FactKind.FAILED, **fact) -> None:
    """One attempt that ended badly, and the decision to give up."""
    work = Record([key])
    row = work.messages[key]
    attempt = work.start_attempt(row, account_id=row.account_id, idempotency_key="k")
    failed = Fact(kind, work.now, **{"failure": FailureClass.PERMANENT, "code": "550", "text": "no such user", **fact})
    work.add_fact(row, attempt, failed, key=f"f:{attempt.number}", source=Source("dispatch"))
    work.learn()
    work.decide(row, Decision.GIVE_UP, source=Source("dispatch"))
    work.save()
    QueueRow.objects.filter(pk=key).delete()


def until_waited_for() -> None:
    """Until another connection waits for a lock of this one's transaction."""
    deadline, waited_for = time.monotonic() + 20, False
    with connection.cursor() as cursor:
        while not waited_for:
            assert time.monotonic() < deadline
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)))")
            waited_for = cursor.fetchone()[0]
