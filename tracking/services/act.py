"""What an operator or an application does to one message: retry, cancel, send again, suppress its recipient. Called by
the API, the admin and bulk operations.

Lock order, as everywhere: the message (by Record), then its queue row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from tracking import partitions, store, wake
from tracking.models import Content, Message, Project
from tracking.models.channel import RECIPIENT
from tracking.redact import ERASED
from tracking.rows import MessageRow
from tracking.schema import Invalid
from tracking.services import consents, route, submit
from tracking.services.consents import Asked
from tracking.services.idempotency import Key
from tracking.services.record import Record, Source
from tracking.services.route import NoRoute, Route
from tracking.statuses import RETRYABLE_BY_HAND, Decision, Reason

_SENDABLE = ("text", "html", "data", "template_id")
_CONTENT = ("text", "html", "data")


class Missing(Exception):
    """There is no such message, or none of this project."""


class Refused(Exception):
    """The message's state does not allow it; the text says why."""


class Changed(Refused):
    """It is not what it was when somebody decided to act on it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The state in which somebody saw a message before acting on it: nothing is done to one that has moved on."""

    status: str
    decisions: int


def retry(message_id: UUID, *, source: Source, project_id: int | None = None, seen: Seen | None = None) -> None:
    """Send a failed, bounced or unknown message again, with a fresh budget of attempts.

    It goes through the same account where that may still be used, else through another. An operator may send to a
    recipient that bounced; one that was suppressed beforehand stays suppressed. `project_id`: only this project's.
    Raises Missing, Refused.
    """
    with transaction.atomic():
        work, row = _locked(message_id, project_id, seen)
        _check_retry(work, row)
        row.account_id = _account(row)
        _send(work, row, source)


def retry_via(
    message_id: UUID, *, account_id: int, source: Source, project_id: int | None = None, seen: Seen | None = None
) -> None:
    """As `retry`, through the account that is named: one of the message's channel, granted to its project.

    Raises Missing, Refused.
    """
    with transaction.atomic():
        work, row = _locked(message_id, project_id, seen)
        _check_retry(work, row)
        channel, _ = row.address()
        found = next((each for each in routes_for(row.project_id, channel) if each.account_id == account_id), None)
        if found is None:
            raise Refused(f"no enabled account for {channel} of this id is granted to the message's project")
        row.account_id = found.account_id
        _send(work, row, source, text=f"through {found.code}")


def routes_for(project_id: int, channel: str) -> list[Route]:
    """The accounts that a message of this project and channel may be sent through."""
    return [each for each in route.granted(project_id) if each.channel == channel and each.enabled]


def cancel(message_id: UUID, *, source: Source, project_id: int | None = None, seen: Seen | None = None) -> None:
    """Take a message back that still waits to be sent. Raises Missing, Refused."""
    with transaction.atomic():
        work, row = _locked(message_id, project_id, seen)
        if not store.take_from_queue([row.id]):
            raise Refused(f"only what waits to be sent can be cancelled; this message is {row.status}")
        work.decide(row, Decision.CANCEL, source=source)
        work.save()


def send_again(message_id: UUID, *, source: Source, token: str) -> UUID:
    """Hand the same content in once more, as a new message on a route of its own; both timelines name the other.

    `token`: one for each wish; the same one given twice makes one message. Raises Missing, Refused.
    """
    return partitions.with_repair(lambda: _send_again(message_id, source, token))


def suppress_recipient(message_id: UUID, *, source: Source) -> None:
    """Nothing more is sent to this message's recipient by its project. Raises Missing, Refused."""
    with transaction.atomic():
        work, row = _locked(message_id, None)
        if row.recipient == ERASED:
            raise Refused("its recipient was erased")
        work.suppress(row, "manual", *row.address(0))
        work.note(row, key="suppressed", source=source, text="the recipient was put on the suppression list")
        work.save()


def _locked(message_id: UUID, project_id: int | None, seen: Seen | None = None) -> tuple[Record, MessageRow]:
    work = Record([message_id])
    row = work.messages.get(message_id)
    if row is None or project_id not in (None, row.project_id):
        raise Missing
    if seen is not None and seen != Seen(row.status, row.decisions):
        raise Changed(f"the message has changed meanwhile: it is {row.status} now")
    return work, row


def _send(work: Record, row: MessageRow, source: Source, text: str = "") -> None:
    if not store.add_to_queue(store.queue_row(row, work.now)):
        raise Refused("the message is being sent right now")
    work.decide(row, Decision.OPERATOR_RETRY, source=source, text=text)
    work.save([store.due_legs(row.due_legs(work.now))])  # the leg has its whole time once more
    wake.after_commit(wake.DISPATCH)


def _send_again(message_id: UUID, source: Source, token: str) -> UUID:
    with transaction.atomic():
        message = Message.objects.filter(pk=message_id).first()
        project = Project.objects.filter(pk=message.project_id).first() if message else None
        if message is None or project is None:
            raise Missing
        if message.recipient.startswith(RECIPIENT):
            raise Refused("a message to a channel is sent again in its channel")
        document = _document(message)
        origin = Source(source.kind, detail={**(source.detail or {}), "copy_of": str(message_id)})
        key = Key.of(project.pk, f"send-again:{token}", method="POST", path=str(message_id), document=None)
        try:
            answer = submit.submit(submit.Sender(project.pk, project.default_region, origin), document, key=key)
        except Invalid as invalid:
            raise Refused(f"its content cannot be sent as it is: {invalid}") from None
        copy = UUID(str(answer["id"]))
        work, row = _locked(message_id, None)
        told = Source(source.kind, detail={**(source.detail or {}), "sent_as": str(copy)})
        work.note(row, key=f"copy:{copy}", source=told, text="")
        work.save()
    return copy


def _document(message: Message) -> dict[str, Any]:
    """The request that this message was made from, as far as it is kept, without its times and its provider."""
    body = _body(message.pk)
    document = {name: value for name, value in body.items() if name not in _CONTENT}
    if message.fallbacks:
        document["fallback"] = _fallback(message.pk, body["fallback"])
    return document | {
        "channel": message.channel,
        "recipient": message.recipient,
        "content": {name: body[name] for name in _CONTENT if name in body},
        "external_id": message.external_id,
        "priority": message.priority,
        **({"retry": message.retry} if message.retry else {}),
    }


def _fallback(message_id: UUID, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The legs behind the first one, as they were asked for."""
    legs = store.legs_of([message_id]).get(message_id, [])[1:]
    return [
        {
            **{name: value for name, value in body.items() if name not in _CONTENT},
            **{"channel": leg.channel, "recipient": leg.recipient},
            "content": {name: body[name] for name in _CONTENT if name in body},
            **({"ttl": leg.ttl} if leg.ttl else {}),
        }
        for leg, body in zip(legs, bodies, strict=True)
    ]


def sendable(body: dict[str, Any]) -> bool:
    """Whether there is something to send in what is kept of a message."""
    return any(body.get(name) for name in _SENDABLE)


def _body(message_id: UUID) -> dict[str, Any]:
    """The content, where there is something to send."""
    body: dict[str, Any] | None = Content.objects.filter(pk=message_id).values_list("body", flat=True).first()
    if body is None:
        raise Refused("the message's content was purged")
    if not sendable(body):
        raise Refused("the message was sent elsewhere; Postroom has no content to send")
    return body


def _check_retry(work: Record, row: MessageRow) -> None:
    if row.status not in RETRYABLE_BY_HAND:
        raise Refused(f"only a failed, bounced or unknown message can be sent again; this one is {row.status}")
    body = _body(row.id)
    if row.expires_at and row.expires_at <= work.now:
        raise Refused(f"the message expired at {row.expires_at.isoformat(timespec='seconds')}")
    asked = Asked(*row.address(), body.get("purpose", ""))
    stopped = consents.stopped(row.project_id, [asked]) if row.reason == Reason.SUPPRESSED else {}
    if asked in stopped:
        raise Refused(stopped[asked] or "the recipient is on the suppression list")


def _account(row: MessageRow) -> int:
    granted = route.granted(row.project_id)
    if any(each.account_id == row.account_id and each.enabled for each in granted):
        return row.account_id or 0
    try:
        return route.choose(row.project_id, row.address()[0]).account_id
    except NoRoute as none:
        raise Refused(none.detail) from None
