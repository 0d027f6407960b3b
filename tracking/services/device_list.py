"""Devices as the API shows them: one, and lists, newest first. Reads only."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict

from tracking.models import Device
from tracking.models.push import PLATFORMS
from tracking.schema import BadQuery
from tracking.services.act import Missing
from tracking.services.listing import limit_of

_EXACT = {"token": 500, "hwid": 200, "user_id": 200}  # and how long they may be
_KNOWN = {*_EXACT, "platform", "valid", "limit", "cursor"}
_MAX_ID = 2**63 - 1


def shape(device: Device) -> dict[str, Any]:
    """An empty text stands as null."""
    invalid = None
    if not device.valid:
        why = {"reason": device.reason, "detail": device.detail or None}
        invalid = {**why, "at": device.invalid_at, "notification_id": device.message_id}
    return {
        "id": device.pk,
        "platform": device.platform,
        "token": device.token,
        **{name: getattr(device, name) or None for name in ("hwid", "user_id", "language", "app_version")},
        "tags": device.tags,
        "valid": device.valid,
        "invalid": invalid,
        "registered_at": device.registered_at,
        "created_at": device.created_at,
    }


def find(project_id: int, number: str) -> Device:
    """Raises Missing."""
    found = Device.objects.filter(pk=int(number), project_id=project_id).first() if _is_id(number) else None
    if found is None:
        raise Missing
    return found


def page(project_id: int, query: QueryDict) -> dict[str, Any]:
    """Raises BadQuery."""
    if unknown := sorted(set(query) - _KNOWN):
        raise BadQuery(dict.fromkeys(unknown, "is not a known parameter"))
    limit = limit_of(query.get("limit"))
    rows = list(_wanted(project_id, query).order_by("-pk")[: limit + 1])
    more = rows[limit - 1].pk if len(rows) > limit else None
    return {"devices": [shape(row) for row in rows[:limit]], "next_cursor": None if more is None else str(more)}


def _wanted(project_id: int, query: QueryDict) -> QuerySet[Device]:
    errors = {
        name: f"must have 1 to {longest} characters"
        for name, longest in _EXACT.items()
        if name in query and (not 0 < len(query[name]) <= longest or "\0" in query[name])
    }
    if query.get("platform", PLATFORMS[0]) not in PLATFORMS:
        errors["platform"] = f"must be one of {', '.join(PLATFORMS)}"
    if query.get("valid", "true") not in ("true", "false"):
        errors["valid"] = "must be true or false"
    before = query.get("cursor")
    if before is not None and not _is_id(before):
        errors["cursor"] = "is not a cursor of this list"
    if errors:
        raise BadQuery(errors)
    found = Device.objects.filter(project_id=project_id)
    found = found.filter(**{name: query[name] for name in (*_EXACT, "platform") if name in query})
    if "valid" in query:
        found = found.filter(valid=query["valid"] == "true")
    return found if before is None else found.filter(pk__lt=int(before))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= _MAX_ID
