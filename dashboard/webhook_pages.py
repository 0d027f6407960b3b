"""What the pages of webhook endpoints and deliveries show. Reads only; called by the admin and the message's page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
from django.utils.safestring import SafeString

from dashboard.templatetags.postroom import tag
from tracking.models import Delivery, DeliveryState, Endpoint
from tracking.services import deliveries, endpoints

SHOWN = 20  # deliveries on a page that is about something else

_STATES = {
    DeliveryState.PENDING: ("processing", "◔"),
    DeliveryState.DELIVERED: ("delivered", "✓"),
    DeliveryState.FAILED: ("failed", "✕"),
}
_ENDPOINT = {
    "active": ("delivered", "✓"),
    "failing": ("bounced", "!"),
    "inactive": ("cancelled", "⊘"),
    "gone": ("failed", "✕"),
    "disabled": ("failed", "✕"),
}
_WHY = {
    "failing": "Its calls fail. It is called once at a time until one succeeds; after five days it is disabled.",
    "inactive": "It was deactivated: nothing is sent to it, and nothing is gathered for it.",
    "gone": "It answered 410 Gone and was disabled: nothing is sent to it, and nothing is gathered for it.",
    "disabled": "It was disabled, as nothing but failures came from it for five days. What it misses waits here until "
    "somebody activates it.",
}


def delivery_pill(delivery: Delivery) -> SafeString:
    tone, sign = _STATES.get(DeliveryState(delivery.state), ("cancelled", "•"))
    return tag(tone, delivery.state, sign)


def endpoint_pill(endpoint: Endpoint) -> SafeString:
    state = endpoints.state_of(endpoint)
    return tag(_ENDPOINT[state][0], state, _ENDPOINT[state][1])


def endpoint(found: Endpoint) -> dict[str, Any]:
    return {
        "title": "Webhook endpoint",
        "endpoint": found,
        "pill": endpoint_pill(found),
        "why": _WHY.get(endpoints.state_of(found), ""),
        "headers": sorted(endpoints.shape(found)["custom_headers"]),
        "both_until": endpoints.shape(found)["previous_secret_until"],
        "deliveries": _shown(list(Delivery.objects.filter(endpoint=found).order_by("-pk")[:SHOWN])),
    }


def delivery(found: Delivery) -> dict[str, Any]:
    return {
        "title": "Webhook delivery",
        "delivery": found,
        "pill": delivery_pill(found),
        "tries": deliveries.attempts_of([found])[found.pk],
        "payload": orjson.dumps(found.payload, option=orjson.OPT_INDENT_2).decode(),
        "waiting": found.state == DeliveryState.PENDING,
    }


def of_message(message_id: UUID) -> list[tuple[Delivery, SafeString]]:
    return _shown(deliveries.of_message(message_id, SHOWN))


def _shown(rows: list[Delivery]) -> list[tuple[Delivery, SafeString]]:
    return [(row, delivery_pill(row)) for row in rows]
