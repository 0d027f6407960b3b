"""Erasure, messages to the recipient: they lose their addresses, what they said and the providers' words. Called by
erase, inside its transaction.

A message is to somebody if any of its legs is: the other legs are other ways to the same person, and go with it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from tracking import marks, store
from tracking.models import Delivery, DeliveryAttempt, QueueRow
from tracking.redact import ERASED
from tracking.services import erase_named
from tracking.services.erase_target import FIRST, Done, Target, execute, rows
from tracking.services.record import Record, Source
from tracking.statuses import Decision, Status

LOOKED_THROUGH = 5_000  # messages of one step
# What of a message's links, and of visits that are not recorded yet, is only about itself.
_ENGAGEMENT = ("engagement_visit", "engagement_short_link", "engagement_tracked")
_NOTE = "erased:"


def step(target: Target, place: UUID | None) -> Done:
    """The next messages of the project, up to those that were there when it was asked for."""
    low = place or FIRST
    high = _edge(target, low)
    window = (low, high or target.end)
    counts, waits = _erase(target, _to(target, window))
    named = erase_named.redact(target, window)
    return Done(high, dict(Counter(counts) + Counter(named)), waits)


def _edge(target: Target, low: UUID) -> UUID | None:
    """How far this step looks; None: to the end."""
    query = "SELECT id FROM message WHERE project_id = %s AND id > %s AND id < %s ORDER BY id OFFSET %s LIMIT 1"
    found = rows(query, [target.project_id, low, target.end, LOOKED_THROUGH])
    return found[0][0] if found else None


def _to(target: Target, window: tuple[UUID, UUID]) -> list[UUID]:
    """Whatever the channel: the same address is the same person."""
    params = [target.project_id, *window, target.needle.folded]
    query = (
        "SELECT id FROM message WHERE project_id = %s AND id > %s AND id <= %s AND lower(recipient) = ANY(%s)"
        " UNION SELECT message_id FROM leg"
        " WHERE project_id = %s AND message_id > %s AND message_id <= %s AND lower(recipient) = ANY(%s)"
    )
    return [key for (key,) in rows(query, params * 2)]


def _erase(target: Target, found: list[UUID]) -> tuple[dict[str, int], int]:
    """The rows of each table, and how many messages are just being sent: those are left for the next time."""
    if not found:
        return {}, 0
    work = Record(found)  # locks them: nothing is learnt of them meanwhile
    busy = _cancelled(work, target)
    keys = sorted(set(work.messages) - busy)
    for key in keys:
        text = "the recipient was erased"
        work.note(work.messages[key], key=f"{_NOTE}{target.erasure.pk}", source=_source(target), text=text)
    work.save()
    return (_all_of(target, keys) if keys else {}), len(busy)


def _cancelled(work: Record, target: Target) -> set[UUID]:
    """What still waits is not sent any more; what is left is just being sent. What others send is not waited for: who
    reports on it may take days, or never come back to it."""
    ours = (row for row in work.messages.values() if not row.elsewhere)
    waiting = [row for row in ours if row.status in (Status.PENDING, Status.PROCESSING)]
    taken = store.take_from_queue([row.id for row in waiting])
    for row in waiting:
        if row.id in taken:
            work.decide(row, Decision.CANCEL, source=_source(target))
    left = [row for row in waiting if row.id not in taken]
    queued = set(QueueRow.objects.filter(pk__in=[row.id for row in left]).values_list("pk", flat=True))
    return {row.id for row in left if row.status is Status.PROCESSING or row.id in queued}


def _source(target: Target) -> Source:
    return Source("job", detail={"erasure": target.erasure.pk})


def _all_of(target: Target, keys: list[UUID]) -> dict[str, int]:
    bounds = [keys, keys[0], keys[-1]]
    among = "message_id = ANY(%s) AND message_id BETWEEN %s AND %s"
    return {
        "content": execute(f"DELETE FROM content WHERE {among}", bounds),
        "attempt": execute(f"UPDATE attempt SET text = '' WHERE {among} AND text <> ''", bounds),
        "event": execute(
            "UPDATE event SET text = '', detail = (SELECT jsonb_object_agg(k, v) FROM jsonb_each(detail) x (k, v)"
            f" WHERE k = ANY(%s)) WHERE {among} AND (text <> '' OR detail IS NOT NULL) AND dedupe_key NOT LIKE %s",
            [[*marks.OWN, "erasure", "key"], *bounds, f"note:{_NOTE}%"],
        ),
        "inbound": _raw_requests(bounds),
        "leg": execute(f"UPDATE leg SET recipient = %s WHERE {among} AND recipient <> %s", [ERASED, *bounds, ERASED]),
        **{table: execute(f"DELETE FROM {table} WHERE {among}", bounds) for table in _ENGAGEMENT},
        **_deliveries(target, keys),
        "message": _addresses(target, bounds),
    }


def _addresses(target: Target, bounds: list[Any]) -> int:
    found = rows("SELECT id, external_id, tags FROM message WHERE id = ANY(%s) AND id BETWEEN %s AND %s", bounds)
    for key, external, tags in found:
        named = [target.needle.inside(tag)[:100] for tag in tags]
        execute(
            "UPDATE message SET recipient = %s, external_id = %s, tags = %s WHERE id = %s",
            [ERASED, target.needle.inside(external)[:200], named, key],
        )
    return len(found)


def _raw_requests(bounds: list[Any]) -> int:
    """The requests that told of these messages. One that told of a single receipt is about nobody else: it is emptied,
    for it may spell the recipient in a way that is not known here."""
    found = rows(
        "SELECT DISTINCT i.id, i.receipts FROM event e JOIN inbound i ON i.id = e.inbound_id"
        " WHERE e.message_id = ANY(%s) AND e.message_id BETWEEN %s AND %s AND i.state <> 'new'",
        bounds,
    )
    single = [key for key, receipts in found if receipts <= 1]
    if not single:
        return 0
    query = "UPDATE inbound SET body = '', url = '', headers = '{}', error = ''"
    return execute(f"{query} WHERE id = ANY(%s) AND id BETWEEN %s AND %s", [single, min(single), max(single)])


def _deliveries(target: Target, keys: list[UUID]) -> dict[str, int]:
    """What endpoints were told: payloads hold no recipient, but may hold an id or a tag that does."""
    changed = 0
    for each in Delivery.objects.filter(message_id__in=keys):
        payload = target.needle.ids(each.payload)
        if payload != each.payload:
            changed += Delivery.objects.filter(pk=each.pk).update(payload=payload)
    answers = DeliveryAttempt.objects.filter(delivery__message_id__in=keys).exclude(answer="").update(answer="")
    return {"webhook_delivery": changed, "webhook_attempt": answers}
