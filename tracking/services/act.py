"""What an operator or an application does to one message: retry, cancel. Called by the API, the admin, bulk operations.

Lock order, as everywhere: the message (by Record), then its queue row.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from tracking import store, wake
from tracking.models import Content
from tracking.rows import MessageRow
from tracking.services import route, suppress
from tracking.services.record import Record, Source
from tracking.services.route import NoRoute
from tracking.statuses import RETRYABLE_BY_HAND, Decision, Reason

_SENDABLE = ("text", "html", "data", "template_id")


class Missing(Exception):
    """There is no such message, or none of this project."""


class Refused(Exception):
    """The message's state does not allow it; the text says why."""


def retry(message_id: UUID, *, source: Source, project_id: int | None = None) -> None:
    """Send a failed, bounced or unknown message again, with a fresh budget of attempts.

    It goes through the same account where that may still be used, else through another. An operator may send to a
    recipient that bounced; one that was suppressed beforehand stays suppressed. `project_id`: only this project's.
    Raises Missing, Refused.
    """
    with transaction.atomic():
        work, row = _locked(message_id, project_id)
        _check_retry(work, row)
        row.account_id = _account(row)
        if not store.add_to_queue(store.queue_row(row, work.now)):
            raise Refused("the message is being sent right now")
        work.decide(row, Decision.OPERATOR_RETRY, source=source)
        work.save()
        wake.after_commit(wake.DISPATCH)


def cancel(message_id: UUID, *, source: Source, project_id: int | None = None) -> None:
    """Take a message back that still waits to be sent. Raises Missing, Refused."""
    with transaction.atomic():
        work, row = _locked(message_id, project_id)
        if not store.take_from_queue([row.id]):
            raise Refused(f"only what waits to be sent can be cancelled; this message is {row.status}")
        work.decide(row, Decision.CANCEL, source=source)
        work.save()


def _locked(message_id: UUID, project_id: int | None) -> tuple[Record, MessageRow]:
    work = Record([message_id])
    row = work.messages.get(message_id)
    if row is None or project_id not in (None, row.project_id):
        raise Missing
    return work, row


def _check_retry(work: Record, row: MessageRow) -> None:
    if row.status not in RETRYABLE_BY_HAND:
        raise Refused(f"only a failed, bounced or unknown message can be sent again; this one is {row.status}")
    body: dict[str, Any] | None = Content.objects.filter(pk=row.id).values_list("body", flat=True).first()
    if body is None:
        raise Refused("the message's content was purged")
    if not any(body.get(name) for name in _SENDABLE):
        raise Refused("the message was sent elsewhere; Postroom has no content to send")
    if row.expires_at and row.expires_at <= work.now:
        raise Refused(f"the message expired at {row.expires_at.isoformat(timespec='seconds')}")
    if row.reason == Reason.SUPPRESSED and suppress.suppressed(row.project_id, [(row.channel, row.recipient)]):
        raise Refused("the recipient is on the suppression list")


def _account(row: MessageRow) -> int:
    granted = route.granted(row.project_id)
    if any(each.account_id == row.account_id and each.enabled for each in granted):
        return row.account_id or 0
    try:
        return route.choose(row.project_id, row.channel).account_id
    except NoRoute as none:
        raise Refused(none.detail) from None
