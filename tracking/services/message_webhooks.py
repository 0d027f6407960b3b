"""Webhooks that a single message names: made, found when there is something to tell, put into k-msg's form. Called by
tracked, outgoing and publish.

Each stands as an endpoint that no list of endpoints shows. Messages that name the same address in the same way share
one, so that a hundred thousand messages need one row and are held to what one endpoint takes at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import digest
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection, transaction

from tracking import kmsg
from tracking.kmsg import MessageEventType, MessageStatus, wire
from tracking.models import Delivery, DeliveryAttempt, Endpoint, Message
from tracking.services import tracking_records
from tracking.subscribers import Subscriber
from tracking.tracker_schema import Webhook

MARGIN = timedelta(hours=1)  # so seldom is an endpoint's end written anew
MAX_KEPT = 1_000
_known: dict[tuple[int, str], tuple[int, datetime]] = {}  # (project, digest) → its endpoint, and until when it stays


# --- made


def endpoints(project_id: int, webhooks: Sequence[Webhook], *, until: datetime) -> list[int]:
    """The endpoint of each, there until then at least. Part of the caller's transaction."""
    return [_endpoint(project_id, each, until) for each in webhooks]  # one that is named twice comes twice


def _endpoint(project_id: int, webhook: Webhook, until: datetime) -> int:
    named = (project_id, _digest(webhook))
    key, stays = _known.get(named, (0, until))
    if key and stays >= until:
        return key
    stays = until + MARGIN
    endpoint = _find(named) or _make(named, webhook, stays)
    Endpoint.objects.filter(pk=endpoint.pk, unused_after__lt=stays).update(unused_after=stays)
    transaction.on_commit(lambda: _keep(named, endpoint.pk, stays))
    return endpoint.pk


def _keep(named: tuple[int, str], key: int, stays: datetime) -> None:
    if len(_known) >= MAX_KEPT:
        _known.clear()
    _known[named] = (key, stays)


def forget() -> None:
    """For tests."""
    _known.clear()


def _find(named: tuple[int, str]) -> Endpoint | None:
    return Endpoint.objects.filter(project_id=named[0], digest=named[1], deleted_at=None).first()


def _make(named: tuple[int, str], webhook: Webhook, stays: datetime) -> Endpoint:
    endpoint = Endpoint(
        project_id=named[0],
        digest=named[1],
        url=webhook.url,
        events=[ours for each in webhook.events for ours in kmsg.TOLD_AT[MessageEventType(each)]],
        description="of single messages",
        timeout=webhook.timeout / 1000,
        retries=webhook.retries,
        unused_after=stays,
    )
    endpoint.seal(secret=webhook.secret or "", headers={name: text or "" for name, text in webhook.headers.items()})
    # where another process was quicker, its own is taken; bulk: the audit log is for what people change
    Endpoint.objects.bulk_create([endpoint], ignore_conflicts=True)
    return Endpoint.objects.get(project_id=named[0], digest=named[1], deleted_at=None)


def _digest(webhook: Webhook) -> str:
    """A keyed hash of all that it says, which holds a secret."""
    said = orjson.dumps(webhook.model_dump(), option=orjson.OPT_SORT_KEYS)
    return digest(settings.ADDRESS_KEY.encode(), b"webhook:" + said, sha256).hex()


def prune(now: datetime) -> None:
    """Forget endpoints that no message names any more; the prune job removes what they were told."""
    unused = Endpoint.objects.filter(unused_after__lt=now, deleted_at=None).exclude(digest="")
    unused.update(active=False, deleted_at=now, sealed="")


# --- found


def of(message_ids: Sequence[UUID]) -> Mapping[UUID, list[Subscriber]]:
    """The webhooks of those messages that have any and are still tracked."""
    found: defaultdict[UUID, list[Subscriber]] = defaultdict(list)
    if message_ids:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT t.message_id, e.id, e.events FROM tracked_message t JOIN webhook_endpoint e"
                " ON e.id = ANY(t.endpoints) WHERE t.message_id = ANY(%s) AND t.stopped_at IS NULL"
                " AND e.deleted_at IS NULL ORDER BY e.id",
                [list(message_ids)],
            )
            for message_id, endpoint_id, events in cursor.fetchall():
                found[message_id].append(Subscriber(endpoint_id, frozenset(events)))
    return found


# --- told

_TYPES: Mapping[str, MessageEventType] = {event: kind for kind, events in kmsg.TOLD_AT.items() for event in events}


def payloads(told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What stands in deliveries, in k-msg's form. The report is the message as it stands now; the recipient is nowhere
    stored with it."""
    records = tracking_records.read([UUID(each["notification_id"]) for each in told])
    return [wire(event_of(each, records.get(UUID(each["notification_id"])))) for each in told]


def event_of(payload: dict[str, Any], record: kmsg.TrackingRecord | None) -> kmsg.MessageEvent:
    """`record`: None where the message is purged by now."""
    status = kmsg.WORDS[payload["status"]]
    previous = payload.get("previous")
    data = {
        "messageId": record.message_id if record else payload["notification_id"],
        "previousStatus": kmsg.WORDS[previous] if previous else None,
        "currentStatus": status,
        "deliveryReport": wire(record.delivery_report) if record else None,
    }
    kind = _TYPES.get(payload["type"], kmsg.event_type(status))
    if kind is MessageEventType.QUEUED and record:  # there the document's data is the report itself
        data = {**wire(record.delivery_report), **data, "status": MessageStatus.QUEUED}
    metadata = record.metadata if record else {}
    return kmsg.MessageEvent(payload["id"], kind, payload["timestamp"], data, metadata)


def result(delivery_id: UUID, *, channel: str) -> dict[str, Any] | None:
    """What listeners are told of a delivery that ended. None where it is of a message of another channel, or gone."""
    delivery = Delivery.objects.filter(pk=delivery_id).select_related("endpoint").first()
    if delivery is None or delivery.message_id is None:
        return None
    if not Message.objects.filter(pk=delivery.message_id, channel=channel).exists():
        return None
    last = DeliveryAttempt.objects.filter(delivery=delivery_id).order_by("-pk").first()
    record = tracking_records.read([delivery.message_id]).get(delivery.message_id)
    said = {
        "webhook": tracking_records.webhook(delivery.endpoint),
        "event": event_of(delivery.payload, record),
        "attempts": delivery.attempts,
    }
    return said if last is None else {**said, **_outcome(last, delivery.attempts)}


def _outcome(last: DeliveryAttempt, number: int) -> dict[str, Any]:
    answer = {
        "success": not last.error,
        "status_code": last.status,
        "response_time": last.milliseconds,
        "attempt": number,
        "error": last.error or None,
    }
    return {"result": answer, "attempt": number, "error": last.error or None}
