"""What endpoints were told: listed, replayed, pruned. Called by the API, the admin and the prune job."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from tracking import cursors, endpoint_schema, ids, schema, wake
from tracking.models import Delivery, DeliveryAttempt, DeliveryState, Endpoint
from tracking.models.outbound import TEST
from tracking.services.act import Missing, Refused

SHOWN_ATTEMPTS = 50  # of one delivery in a list: replays may make them many
REPLAYED = 5_000  # by one call
CHUNK = 5_000
PRUNE_SECONDS = 15.0  # for one run of the job
_REPLAY = """
UPDATE webhook_delivery SET state = 'pending', attempts = 0, next_try_at = %s, lease = NULL
WHERE id = ANY(%s) AND state <> 'pending'
"""


# --- list


def page(endpoint: Endpoint, query: Mapping[str, str]) -> dict[str, Any]:
    """Newest first, each with its attempts. Raises BadQuery."""
    asked = schema.query(endpoint_schema.DeliveryQuery, query)
    found, floor = Delivery.objects.filter(endpoint=endpoint), None
    if asked.cursor is not None:
        found = found.filter(pk__lt=asked.cursor)
    if narrowed := asked.model_dump(include={"state", "event"}, exclude_none=True):
        floor = found.order_by("-pk").values_list("pk", flat=True)[CHUNK : CHUNK + 1].first()
        found = found.filter(**narrowed, pk__gte=floor or UUID(int=0))
    rows = list(found.order_by("-pk")[: asked.limit + 1])
    more = rows[asked.limit - 1].pk if len(rows) > asked.limit else floor
    return {"deliveries": shapes(rows[: asked.limit]), "next_cursor": None if more is None else cursors.of_key(more)}


def find(endpoint: Endpoint, delivery_id: UUID) -> Delivery:
    """Raises Missing."""
    found = Delivery.objects.filter(endpoint=endpoint, pk=delivery_id).first()
    if found is None:
        raise Missing
    return found


def shapes(rows: Sequence[Delivery]) -> list[dict[str, Any]]:
    tries = attempts_of(rows)
    return [
        {
            "id": row.pk,
            "event": row.event,
            "notification_id": row.message_id,
            "state": row.state,
            "created_at": row.created_at,
            "next_try_at": row.next_try_at if row.state == DeliveryState.PENDING else None,
            "attempts": [
                {
                    "at": each.at,
                    "response_status": each.status,
                    "response_time": each.milliseconds,
                    "error": each.error or None,
                    "response_body": each.answer,
                }
                for each in tries[row.pk]
            ],
            "payload": row.payload,
        }
        for row in rows
    ]


def attempts_of(rows: Sequence[Delivery]) -> Mapping[UUID, list[DeliveryAttempt]]:
    """The newest of each, in order."""
    found: defaultdict[UUID, list[DeliveryAttempt]] = defaultdict(list)
    for each in DeliveryAttempt.objects.filter(delivery__in=[row.pk for row in rows]).order_by("pk"):
        found[each.delivery_id] = [*found[each.delivery_id], each][-SHOWN_ATTEMPTS:]
    return found


def of_message(message_id: UUID, limit: int) -> list[Delivery]:
    """With their endpoints, newest first."""
    return list(Delivery.objects.filter(message_id=message_id).select_related("endpoint").order_by("-pk")[:limit])


# --- replay


def replay(delivery: Delivery) -> None:
    """Tell it once more, under the same id, with a fresh budget of attempts. Raises Refused."""
    _check_active(delivery.endpoint)
    if not _replay([delivery.pk]):
        raise Refused("this delivery is still waiting to be sent")


def replay_all(delivery_ids: Sequence[UUID]) -> int:
    """Those of them that are not waiting and whose endpoint is active. How many they were."""
    found = Delivery.objects.filter(pk__in=delivery_ids, endpoint__active=True).values_list("pk", flat=True)
    return _replay(list(found))


def replay_period(endpoint: Endpoint, document: Any) -> dict[str, Any]:
    """Those made in a period, oldest first, a bounded number at a time: where there are more, a cursor says from where
    to go on. Raises Invalid, Refused."""
    wanted = endpoint_schema.period(document)
    _check_active(endpoint)
    found = Delivery.objects.filter(
        endpoint=endpoint, pk__gte=ids.floor(max(wanted.since, datetime.fromtimestamp(0, UTC)))
    )
    if wanted.until is not None:
        found = found.filter(pk__lt=ids.floor(max(wanted.until, datetime.fromtimestamp(0, UTC))))
    if wanted.cursor is not None:
        found = found.filter(pk__gt=wanted.cursor)
    looked = list(found.exclude(event=TEST).order_by("pk").values_list("pk", "state")[: REPLAYED + 1])
    keys = [key for key, state in looked[:REPLAYED] if state in wanted.states]
    more = looked[REPLAYED - 1][0] if len(looked) > REPLAYED else None
    return {"replayed": _replay(keys), "next_cursor": None if more is None else cursors.of_key(more)}


def _replay(keys: Sequence[UUID]) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_REPLAY, [datetime.now(UTC), list(keys)])
        wake.after_commit(wake.PUBLISH)
        return int(cursor.rowcount)


def _check_active(endpoint: Endpoint) -> None:
    if not endpoint.active:
        raise Refused("the webhook endpoint is not active: activate it first")


# --- prune


def prune(now: datetime) -> int:
    """Forget what is older than its retention, and what belongs to deleted endpoints. A bounded time for each run. How
    many deliveries went."""
    until, gone = time.monotonic() + PRUNE_SECONDS, 0
    old = Delivery.objects.filter(pk__lt=ids.floor(now - timedelta(days=settings.WEBHOOK_RETENTION_DAYS)))
    deleted = list(Endpoint.objects.filter(deleted_at__lt=now - timedelta(minutes=5)))
    for rows in (old, *(Delivery.objects.filter(endpoint=endpoint) for endpoint in deleted)):
        while time.monotonic() < until and (keys := list(rows.order_by("pk").values_list("pk", flat=True)[:CHUNK])):
            with transaction.atomic():
                DeliveryAttempt.objects.filter(delivery__in=keys).delete()
                Delivery.objects.filter(pk__in=keys).delete()
            gone += len(keys)
    for endpoint in deleted:
        if not Delivery.objects.filter(endpoint=endpoint).exists():
            endpoint.delete()
    return gone


# --- cursors
