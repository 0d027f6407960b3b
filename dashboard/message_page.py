"""What the page of one message shows. Reads only; called by the admin."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from dashboard import channel_page, message_legs, timeline, webhook_pages, words
from providers.models import Circuit, ProviderAccount
from tracking.models import Attempt, Content, Event, Inbound, Message, Project, QueueRow, Switch
from tracking.services import act, lookup, suppress
from tracking.services.route import Route
from tracking.statuses import RETRYABLE_BY_HAND

SHOWN_EVENTS = 300  # in the timeline: receipts of a message to many can be very many
SHOWN_RECEIPTS = 20  # raw requests listed at a time

_MARKS = (
    ("accepted", "accepted_at"),
    ("delivered", "delivered_at"),
    ("opened", "opened_at"),
    ("clicked", "clicked_at"),
    ("read", "read_at"),
    ("opened by a machine", "machine_opened_at"),
    ("bounced", "bounced_at"),
    ("failed", "failed_at"),
    ("outcome unknown", "unknown_at"),
    ("complained", "complained_at"),
    ("unsubscribed", "unsubscribed_at"),
)


def context(message: Message) -> dict[str, Any]:
    accounts = {account.pk: account for account in ProviderAccount.objects.all()}
    attempts = list(Attempt.objects.filter(message_id=message.pk).order_by("number"))
    shapes = lookup.timeline(message.project_id, message.pk, raw=True, newest=SHOWN_EVENTS) or []
    waiting = QueueRow.objects.filter(pk=message.pk).first()
    content = _content(message)
    legs = message_legs.context(message, shapes, accounts)
    retryable = message.status in RETRYABLE_BY_HAND and content["sendable"]
    return {
        "title": "Message",
        "message": message,
        "retry": json.dumps(message.retry, ensure_ascii=False) if message.retry else "",
        "summary": words.summary(message.status, message.reason, [_try(each, accounts) for each in attempts]),
        "project": Project.objects.filter(pk=message.project_id).first(),
        "account": accounts.get(message.account_id or 0),
        "waiting": waiting,
        "holds": _holds(message, waiting, accounts) if waiting else [],
        "entries": timeline.entries(shapes),
        "shortened": len(shapes) - len(attempts) >= SHOWN_EVENTS,
        "tries": [_column(each, accounts) for each in attempts],
        "can_retry": retryable,
        "via": _others(message, legs["address_channel"]) if retryable else [],
        "can_cancel": waiting is not None and waiting.lease_token is None,
        "place": (place := channel_page.place_of(message)),
        "can_send_again": content["sendable"] and place is None,
        "suppressed": bool(suppress.suppressed(message.project_id, [(message.channel, message.recipient)])),
        "seen": f"{message.status}.{message.decisions}",
        "token": uuid4(),
        **legs,
        "deliveries": webhook_pages.of_message(message.pk),
        **content,
    }


def _others(message: Message, channel: str) -> list[Route]:
    """The accounts that it could be sent through instead, by the channel of its present leg."""
    return [each for each in act.routes_for(message.project_id, channel) if each.account_id != message.account_id]


def _code(account_id: int, accounts: dict[int, ProviderAccount]) -> str:
    account = accounts.get(account_id)
    return account.code if account else f"account {account_id}"


def _try(attempt: Attempt, accounts: dict[int, ProviderAccount]) -> words.Try:
    return words.Try(attempt.number, _code(attempt.account_id, accounts), attempt.failure or "", attempt.code)


def _column(attempt: Attempt, accounts: dict[int, ProviderAccount]) -> dict[str, Any]:
    """One attempt, as a column beside the others."""
    took = (attempt.finished_at - attempt.started_at).total_seconds() if attempt.finished_at else None
    return {
        "attempt": attempt,
        "provider": _code(attempt.account_id, accounts),
        "took": None if took is None else f"{took:.3f} s",
        "marks": [(name, at) for name, field in _MARKS if (at := getattr(attempt, field))],
        "failure": words.failure(attempt.failure) if attempt.failure else "",
    }


def receipts(message_id: UUID, after: str) -> dict[str, Any]:
    """The next raw requests that receipts of this message came in, oldest first."""
    events = Event.objects.filter(message_id=message_id, inbound_id__isnull=False)
    try:
        events = events.filter(inbound_id__gt=UUID(after)) if after else events
    except ValueError:
        events = events.none()
    keys = list(events.order_by("inbound_id").values_list("inbound_id", flat=True).distinct()[: SHOWN_RECEIPTS + 1])
    shown = [key for key in keys[:SHOWN_RECEIPTS] if key]
    kept = Inbound.objects.defer("body", "headers").in_bulk(shown) if shown else {}
    codes = dict(ProviderAccount.objects.values_list("pk", "code")) if kept else {}
    return {
        "first": not after,
        "receipts": [
            {"id": key, "request": kept.get(key), "provider": codes.get(kept[key].account_id) if key in kept else ""}
            for key in shown
        ],
        "more": shown[-1] if len(keys) > SHOWN_RECEIPTS else None,
    }


def _holds(message: Message, waiting: QueueRow, accounts: dict[int, ProviderAccount]) -> list[str]:
    """Why a message that waits is not being sent, in words."""
    now = datetime.now(UTC)
    account = accounts.get(waiting.account_id)
    circuit = Circuit.objects.filter(pk=waiting.account_id).first()
    switch = Switch.objects.first()
    holds = []
    if waiting.lease_token is not None:
        holds.append("A worker has it in hand.")
    elif waiting.due_at > now:
        holds.append(f"It is due {words.ago(waiting.due_at, now)}, at {words.exact(waiting.due_at)}.")
    if switch and switch.sending_paused:
        holds.append(f"Sending is paused for the whole installation: {switch.reason or 'no reason was given'}.")
    if Project.objects.filter(pk=message.project_id, paused=True).exists():
        holds.append("Its project is paused.")
    if account is None or not account.enabled:
        holds.append("Its provider account is disabled.")
    if circuit and circuit.open_until and circuit.open_until > now:
        holds.append(f"The circuit of {_code(waiting.account_id, accounts)} is open: {circuit.reason}")
    return holds


def _json(value: Any) -> str:
    """As applications wrote it, to be read and copied."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _content(message: Message) -> dict[str, Any]:
    kept = Content.objects.filter(pk=message.pk).first()
    body: dict[str, Any] = kept.body if kept else {}
    lists = {name: ", ".join(map(str, body.get(name, ()))) for name in ("cc", "bcc")}
    fields = [(name, body.get(name)) for name in ("sender", "reply_to", "subject", "purpose")] + list(lists.items())
    return {
        "purged": kept is None,
        "sendable": act.sendable(body),
        "fields": [(name.replace("_", "-"), value) for name, value in fields if value],
        "text": body.get("text"),
        "has_html": bool(body.get("html")),
        "documents": [
            (name, _json(body[name])) for name in ("data", "variables", "headers", "metadata") if body.get(name)
        ],
        "attachments": body.get("attachments", ()),
    }
