"""What the page of one message shows. Reads only; called by the admin."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dashboard import timeline, words
from providers.models import Circuit, ProviderAccount
from tracking.models import Attempt, Content, Inbound, Message, Project, QueueRow, Switch
from tracking.services import lookup
from tracking.statuses import RETRYABLE_BY_HAND

SHOWN_RECEIPTS = 50  # raw requests listed on one page

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
    found = timeline.entries(lookup.timeline(message.project_id, message.pk, raw=True) or ())
    waiting = QueueRow.objects.filter(pk=message.pk).first()
    return {
        "title": "Message",
        "message": message,
        "summary": words.summary(message.status, message.reason, [_try(each, accounts) for each in attempts]),
        "project": Project.objects.filter(pk=message.project_id).first(),
        "account": accounts.get(message.account_id or 0),
        "waiting": waiting,
        "holds": _holds(message, waiting, accounts) if waiting else [],
        "entries": found,
        "tries": [_column(each, accounts) for each in attempts],
        "receipts": _receipts(found, accounts),
        "can_retry": message.status in RETRYABLE_BY_HAND,
        "can_cancel": waiting is not None and waiting.lease_token is None,
        **_content(message),
    }


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


def _receipts(found: list[timeline.Entry], accounts: dict[int, ProviderAccount]) -> list[dict[str, Any]]:
    """The raw requests that receipts of this message came in."""
    keys = list(dict.fromkeys(entry.inbound_id for entry in found if entry.inbound_id))[:SHOWN_RECEIPTS]
    kept = Inbound.objects.in_bulk(keys) if keys else {}
    return [
        {"id": key, "request": kept.get(key), "provider": _code(kept[key].account_id, accounts) if key in kept else ""}
        for key in keys
    ]


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


def _content(message: Message) -> dict[str, Any]:
    kept = Content.objects.filter(pk=message.pk).first()
    body: dict[str, Any] = kept.body if kept else {}
    lists = {name: ", ".join(map(str, body.get(name, ()))) for name in ("cc", "bcc")}
    fields = [(name, body.get(name)) for name in ("sender", "reply_to", "subject")] + list(lists.items())
    return {
        "purged": kept is None,
        "fields": [(name.replace("_", "-"), value) for name, value in fields if value],
        "text": body.get("text"),
        "has_html": bool(body.get("html")),
        "documents": [(name, body[name]) for name in ("data", "variables", "headers", "metadata") if body.get(name)],
        "attachments": body.get("attachments", ()),
    }
