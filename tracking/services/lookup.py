"""What became of messages: one, its timeline, a batch. Called by the API and DeliveryTracker. Reads only.

Everything is asked for one project: what belongs to another does not exist.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, Q

from providers.models import ProviderAccount
from tracking import ids, shape
from tracking.models import Attempt, Batch, Content, Event, Message
from tracking.services import ways
from tracking.statuses import Status

SELECT = (
    f"SELECT {', '.join(shape.COLUMNS)} FROM message m LEFT JOIN providers_provideraccount a ON a.id = m.account_id"
)
_BATCH_SPREAD = timedelta(hours=1)  # a batch's messages are made in its own transaction; clocks are a minute apart

_LEG_CONTENT = ("sender", "subject", "text", "html", "data", "template_id", "variables")

Shape = dict[str, Any]


def status(project_id: int, message_id: UUID) -> Shape | None:
    with connection.cursor() as cursor:
        cursor.execute(f"{SELECT} WHERE m.id = %s AND m.project_id = %s", [message_id, project_id])
        row = cursor.fetchone()
    return None if row is None else shape.message(*row)


def notification(project_id: int, message_id: UUID) -> Shape | None:
    """The status and the request's own fields; attachments without their content."""
    found = status(project_id, message_id)
    if found is None:
        return None
    message = Message.objects.get(pk=message_id)
    body: dict[str, Any] | None = Content.objects.filter(pk=message_id).values_list("body", flat=True).first()
    kept = body or {}
    return found | {
        "recipient": message.recipient,
        "priority": message.priority,
        "category": message.category or None,
        "template_id": message.template_id or None,
        "tags": message.tags,
        "scheduled_at": message.scheduled_at,
        "expires_at": message.expires_at,
        "retry": message.retry,
        **{name: kept.get(name) for name in ("sender", "reply_to", "subject", "purpose")},
        **{name: kept.get(name, []) for name in ("cc", "bcc")},
        **{name: kept.get(name, {}) for name in ("headers", "variables", "metadata")},
        "attachments": [_without_content(item) for item in kept.get("attachments", ())],
        "content": None if body is None else {name: kept[name] for name in ("text", "html", "data") if name in kept},
        "content_purged": body is None,
        **_legs(message, kept),
    }


def _legs(message: Message, body: Shape) -> Shape:
    """The legs of a message with a fallback: what became of each."""
    if not message.fallbacks:
        return {"legs": [], "double_delivery": False}
    found = ways.of([message.pk])[message.pk]
    contents = [{name: body[name] for name in _LEG_CONTENT if name in body}, *body.get("fallback", ())]
    shown = [ways.shape(way, contents[way.number] if body else None) for way in found.legs]
    return {"legs": shown, "double_delivery": found.row.delivered_twice}


def _without_content(attachment: dict[str, Any]) -> dict[str, Any]:
    encoded = attachment["content"]
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    return {"filename": attachment["filename"], "content_type": attachment["content_type"], "bytes": size}


# --- the timeline


def timeline(project_id: int, message_id: UUID, *, raw: bool = False, newest: int | None = None) -> list[Shape] | None:
    """Every attempt, event and decision in the order of their times. `raw`: name the raw requests they came in;
    `newest`: no more than so many events and decisions, those that were learnt last."""
    if not Message.objects.filter(pk=message_id, project_id=project_id).exists():
        return None
    codes = dict(ProviderAccount.objects.values_list("pk", "code"))
    entries = [_attempt(attempt, codes) for attempt in Attempt.objects.filter(message_id=message_id)]
    events = Event.objects.filter(message_id=message_id)
    shown = events if newest is None else events.order_by("-recorded_at", "-dedupe_key")[:newest]
    entries += [_event(event, codes, raw=raw) for event in shown]
    return sorted(entries, key=_place)


# Of what happened at the same moment: a decision follows what it was made on, and stands under that attempt's number.
_FIRST = {"attempt": 0, "event": 1, "decision": 2}


def _place(entry: Shape) -> tuple[datetime, datetime, int, int]:
    return (entry["at"], entry["recorded_at"], entry["attempt"] or 0, _FIRST[entry["type"]])


def _attempt(attempt: Attempt, codes: dict[int, str]) -> Shape:
    return {
        "type": "attempt",
        "kind": "handed_over",
        "at": attempt.started_at,
        "recorded_at": attempt.started_at,
        "finished_at": attempt.finished_at,
        "attempt": attempt.number,
        "source": "dispatch" if attempt.idempotency_key else "api",  # without a key: handed over elsewhere
        "provider": codes.get(attempt.account_id),
        "provider_message_id": attempt.reference or None,
    }


def _event(event: Event, codes: dict[int, str], *, raw: bool) -> Shape:
    entry = {
        "type": "event" if event.number is None else "decision",
        "kind": event.kind,
        "at": event.occurred_at,
        "recorded_at": event.recorded_at,
        "said_at": event.said_at,
        "attempt": event.attempt or None,
        "source": event.source,
        "provider": codes.get(event.account_id) if event.account_id else None,
        "failure": event.failure,
        "bounce": event.bounce,
        "machine": event.machine,
        "code": event.code or None,
        "text": event.text or None,
        "detail": event.detail,
    }
    return entry | {"receipt_id": event.inbound_id} if raw else entry


# --- batches


def batch(project_id: int, batch_id: int) -> Shape | None:
    """Its size, how many are in each status, and delivered / sent (null while nothing was sent)."""
    found = Batch.objects.filter(pk=batch_id, project_id=project_id).first()
    if found is None:
        return None
    low, high = ids.floor(found.created_at - _BATCH_SPREAD), ids.floor(found.created_at + _BATCH_SPREAD)
    rows = (
        Message.objects.filter(batch_id=batch_id, pk__gte=low, pk__lt=high)
        .order_by()
        .values_list("status")
        .annotate(count=Count("pk"), sent=Count("pk", filter=Q(attempts__gt=0)))
    )
    counts = {each.value: 0 for each in Status}
    counts |= {state: count for state, count, _ in rows}
    sent = sum(handed_over for *_, handed_over in rows)
    delivered = counts["delivered"] + counts["read"]
    return {
        "batch_id": found.pk,
        "created_at": found.created_at,
        "size": found.size,
        "statuses": counts,
        "sent": sent,
        "delivered": delivered,
        "delivery_rate": delivered / sent if sent else None,
    }
