"""What endpoints are to be told of a change: one row for each milestone newly reached. Called by record, in its
transaction; `announce` by whatever else has something to tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from tracking import accounts, ids, shape, store, subscribers, wake
from tracking.models import EventType
from tracking.rows import MessageRow
from tracking.services import message_webhooks
from tracking.statuses import Status
from tracking.subscribers import Subscriber


class Step(NamedTuple):
    """A message, how it was before, and the statuses that it newly reached."""

    row: MessageRow
    before: MessageRow | None
    milestones: Sequence[Status]


# What happens to a message beside its status: told once, when the first attempt learns of it.
ENGAGEMENTS = {
    EventType.OPENED: "opened_at",
    EventType.CLICKED: "clicked_at",
    EventType.UNSUBSCRIBED: "unsubscribed_at",
    EventType.COMPLAINED: "complained_at",
}
_TIMES = {Status.SENT: "sent_at", Status.DELIVERED: "delivered_at", Status.READ: "read_at"}


def of_changes(steps: Iterable[Step], now: datetime) -> store.Write:
    """The rows for every endpoint that wants them."""
    steps = list(steps)
    own = message_webhooks.of([step.row.id for step in steps if step.milestones and step.before and step.row.elsewhere])
    return store.deliveries([row for step in steps for row in _of_step(step, now, own.get(step.row.id, []))])


def _of_step(step: Step, now: datetime, own: Sequence[Subscriber]) -> Iterator[dict[str, Any]]:
    """`own`: webhooks of this message alone."""
    listening = [*subscribers.of(step.row.project_id), *own]
    if not listening:
        return
    previous = step.before.status if step.before else None
    for event, status, at in reached(step, now):
        for subscriber in listening:
            if event in subscriber.events:
                payload = _payload(step.row, event, status, at)
                if subscriber in own:
                    payload["previous"] = previous
                yield _row(subscriber.endpoint_id, event, payload, now, step.row)
        previous = status


def at_start(row: MessageRow, event: str, endpoint_ids: Iterable[int], now: datetime) -> store.Write:
    """What the webhooks of a new message are told of its beginning."""
    payload = {"type": event, "timestamp": now, "notification_id": row.id, "status": row.status, "previous": None}
    return store.deliveries([_row(key, event, payload, now, None) | {"message_id": row.id} for key in endpoint_ids])


def reached(step: Step, now: datetime) -> Iterator[tuple[EventType, Status, datetime]]:
    """(event, the status to tell with it, when it happened) of all that is new, in the order of a message's life."""
    row = step.row
    for status in step.milestones:
        at = getattr(row, _TIMES.get(status, "failed_at")) or now
        yield EventType(f"notification.{status}"), status, at
    for event, name in ENGAGEMENTS.items():
        at = _first(row, name)
        if at and not (step.before and _first(step.before, name)):
            yield event, row.status, at


def _first(row: MessageRow, name: str) -> datetime | None:
    return min((at for attempt in row.tries if (at := getattr(attempt.facts, name))), default=None)


def _payload(row: MessageRow, event: EventType, status: Status, at: datetime) -> dict[str, Any]:
    """The flat keys that ChatAPI's handlers read, and the message as the API shows it. No recipient: it would go into
    the receivers' logs. What this process does not know of the message is filled in by the statement."""
    bound = accounts.by_id(row.account_id) if row.account_id else None
    times = (row.sent_at, row.delivered_at, row.read_at)
    what = (row.id, row.status.value, row.reason, row.channel)
    external = (row.extra.get("external_id", ""), row.extra.get("batch_id"))
    data = shape.message(*what, *external, *times, row.attempts, bound.account.code if bound else None, row.reference)
    return {"type": event, "timestamp": at, "notification_id": row.id, "status": status, "data": data}


def _row(
    endpoint_id: int, event: str, payload: dict[str, Any], now: datetime, message: MessageRow | None
) -> dict[str, Any]:
    key = ids.new()
    return {
        "id": key,
        "endpoint_id": endpoint_id,
        "message_id": message.id if message else None,
        "event": event,
        "payload": {"id": key, **payload},
        "next_try_at": now,
        "complete": message is None or bool(message.extra),
    }


def announce(
    *, project_id: int, event: EventType, data: dict[str, Any], now: datetime, also: int | None = None
) -> list[UUID]:
    """Tell a project's endpoints of something that is no message. Part of the caller's transaction. `also`: an endpoint
    that is to be told whether or not it wants such events."""
    payload = {"type": event, "timestamp": now, "data": data}
    listening = {each.endpoint_id for each in subscribers.of(project_id) if event in each.events}
    told = sorted(listening if also is None else listening | {also})
    rows = [_row(endpoint_id, event, payload, now, None) for endpoint_id in told]
    store.write([store.deliveries(rows)])
    if rows:
        wake.after_commit(wake.PUBLISH)
    return [row["id"] for row in rows]
