"""Erasure, messages: those to the recipient lose address, content and the providers' words; others that name them, as a
copy or in a text, lose the name. Called by erase, inside its transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from tracking import marks
from tracking.models import Delivery, DeliveryAttempt, Erasure, Message
from tracking.redact import ERASED, Needle, document
from tracking.services import act
from tracking.services.record import Record, Source
from tracking.statuses import Status

LOOKED_THROUGH = 5_000  # messages of one step
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Target:
    """Who is erased, and up to which id."""

    erasure: Erasure
    needle: Needle
    end: UUID

    @property
    def project_id(self) -> int:
        return self.erasure.project_id


@dataclass(slots=True)
class Done:
    place: UUID | None = None  # where to go on
    counts: dict[str, int] = field(default_factory=dict)  # table → rows
    waits: int = 0  # messages that are just being sent


def step(target: Target, place: UUID | None) -> Done:
    """The next messages of the project, up to those that were there when it was asked for."""
    low = place or _FIRST
    high = _edge(target, low)
    done = Done(place=high)
    window = (low, high or target.end)
    found, done.waits = _cancelled(target, _to(target, window))
    done.counts = dict(Counter(_erase(target, found)) + Counter(_naming(target, window)))
    return done


def _edge(target: Target, low: UUID) -> UUID | None:
    """How far this step looks; None: to the end."""
    query = "SELECT id FROM message WHERE project_id = %s AND id > %s AND id < %s ORDER BY id OFFSET %s LIMIT 1"
    rows = _rows(query, [target.project_id, low, target.end, LOOKED_THROUGH])
    return rows[0][0] if rows else None


def _to(target: Target, window: tuple[UUID, UUID]) -> list[UUID]:
    query = (
        "SELECT id FROM message WHERE project_id = %s AND id > %s AND id <= %s AND channel = %s"
        " AND lower(recipient) = ANY(%s) ORDER BY id"
    )
    rows = _rows(query, [target.project_id, *window, target.erasure.channel, target.needle.folded])
    return [key for (key,) in rows]


def _cancelled(target: Target, keys: Sequence[UUID]) -> tuple[list[UUID], int]:
    """What still waits is not sent any more; what is just being sent is left for the next time."""
    rows = Message.objects.filter(pk__in=keys).values_list("pk", "status") if keys else ()
    states, busy = dict(rows), set()
    for key in keys:
        if states.get(key) in (Status.PENDING, Status.PROCESSING):
            try:
                act.cancel(key, source=_source(target))
            except act.Refused:
                if states[key] == Status.PROCESSING:
                    busy.add(key)
    return [key for key in keys if key not in busy], len(busy)


def _source(target: Target) -> Source:
    return Source("job", detail={"erasure": target.erasure.pk})


def _erase(target: Target, keys: list[UUID]) -> dict[str, int]:
    if not keys:
        return {}
    work = Record(keys)  # locks them: nothing is learnt of them meanwhile
    bounds = [keys, keys[0], keys[-1]]
    among = "message_id = ANY(%s) AND message_id BETWEEN %s AND %s"
    counts = {
        "content": _execute(f"DELETE FROM content WHERE {among}", bounds),
        "attempt": _execute(f"UPDATE attempt SET text = '' WHERE {among} AND text <> ''", bounds),
        "event": _execute(
            "UPDATE event SET text = '', detail = (SELECT jsonb_object_agg(k, v) FROM jsonb_each(detail) x (k, v)"
            f" WHERE k = ANY(%s)) WHERE {among} AND (text <> '' OR detail IS NOT NULL)",
            [[*marks.OWN, "erasure", "key"], *bounds],
        ),
        "inbound": _raw_requests(target, bounds),
        **_deliveries(target, keys),
    }
    for row in work.messages.values():
        row_key = f"erased:{target.erasure.pk}"
        work.note(row, key=row_key, source=_source(target), text="the recipient was erased")
    work.learn()
    work.save()
    counts["message"] = _addresses(target, bounds)
    return counts


def _addresses(target: Target, bounds: list[Any]) -> int:
    rows = _rows("SELECT id, external_id, tags FROM message WHERE id = ANY(%s) AND id BETWEEN %s AND %s", bounds)
    for key, external, tags in rows:
        _execute(
            "UPDATE message SET recipient = %s, external_id = %s, tags = %s WHERE id = %s",
            [ERASED, target.needle.inside(external), [target.needle.inside(tag)[:100] for tag in tags], key],
        )
    return len(rows)


def _raw_requests(target: Target, bounds: list[Any]) -> int:
    """The requests that told of these messages. One that told of a single receipt is about nobody else: it is emptied,
    for it may spell the recipient in a way that is not known here."""
    rows = _rows(
        "SELECT DISTINCT i.id, i.receipts FROM event e JOIN inbound i ON i.id = e.inbound_id"
        " WHERE e.message_id = ANY(%s) AND e.message_id BETWEEN %s AND %s AND i.state <> 'new'",
        bounds,
    )
    single = [key for key, receipts in rows if receipts <= 1]
    if not single:
        return 0
    query = "UPDATE inbound SET body = '', url = '', headers = '{}' WHERE id = ANY(%s) AND id BETWEEN %s AND %s"
    return _execute(query, [single, min(single), max(single)])


def _deliveries(target: Target, keys: list[UUID]) -> dict[str, int]:
    """What endpoints were told: payloads hold no recipient, but may hold an id or a tag that does."""
    changed = 0
    for each in Delivery.objects.filter(message_id__in=keys):
        payload = orjson.loads(target.needle.inside(orjson.dumps(each.payload).decode()))
        if payload != each.payload:
            changed += Delivery.objects.filter(pk=each.pk).update(payload=payload)
    answers = DeliveryAttempt.objects.filter(delivery__message_id__in=keys).exclude(answer="").update(answer="")
    return {"webhook_delivery": changed, "webhook_attempt": answers}


# --- messages to others that name them


def _naming(target: Target, window: tuple[UUID, UUID]) -> dict[str, int]:
    if not target.needle.like:
        return {}
    return {"content": _contents(target, window), "event": _events(target, window)}


def _mine(table: str, condition: str) -> str:
    """Rows of a table whose messages are the project's, in a window of ids."""
    return (
        f" FROM {table} t JOIN message m ON m.id = t.message_id AND m.project_id = %s AND m.id > %s AND m.id <= %s"
        f" WHERE t.message_id > %s AND t.message_id <= %s AND ({condition})"
    )


def _contents(target: Target, window: tuple[UUID, UUID]) -> int:
    query = f"SELECT t.message_id, t.body{_mine('content', 'lower(t.body::text) LIKE ANY(%s)')}"
    changed = 0
    for key, body in _rows(query, [target.project_id, *window, *window, target.needle.like]):
        before = document(body)
        if (after := target.needle.json(before)) != before:
            query_one = "UPDATE content SET body = %s::jsonb WHERE message_id = %s"
            changed += _execute(query_one, [orjson.dumps(after).decode(), key])
    return changed


def _events(target: Target, window: tuple[UUID, UUID]) -> int:
    condition = "lower(t.text) LIKE ANY(%s) OR lower(t.detail::text) LIKE ANY(%s)"
    query = f"SELECT t.message_id, t.dedupe_key, t.text, t.detail{_mine('event', condition)}"
    changed = 0
    for key, dedupe, text, detail in _rows(query, [target.project_id, *window, *window, *[target.needle.like] * 2]):
        before = (text, document(detail))
        after = (target.needle.text(text), target.needle.json(before[1]))
        if after != before:
            changed += _execute(
                "UPDATE event SET text = %s, detail = %s::jsonb WHERE message_id = %s AND dedupe_key = %s",
                [after[0], None if after[1] is None else orjson.dumps(after[1]).decode(), key, dedupe],
            )
            _execute("UPDATE attempt SET text = %s WHERE message_id = %s AND text = %s", [after[0], key, text])
    return changed


def _rows(query: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return list(cursor.fetchall())


def _execute(query: str, params: list[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return int(cursor.rowcount)
