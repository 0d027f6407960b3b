"""Devices as the API shows them: one, and lists, newest first. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet

from tracking import schema
from tracking.device_schema import DeviceQuery
from tracking.models import Device
from tracking.services.act import Missing

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


def page(project_id: int, query: Mapping[str, str]) -> dict[str, Any]:
    """Raises BadQuery."""
    asked = schema.query(DeviceQuery, query)
    rows = list(_wanted(project_id, asked).order_by("-pk")[: asked.limit + 1])
    more = rows[asked.limit - 1].pk if len(rows) > asked.limit else None
    return {"devices": [shape(row) for row in rows[: asked.limit]], "next_cursor": None if more is None else str(more)}


def _wanted(project_id: int, asked: DeviceQuery) -> QuerySet[Device]:
    exact = asked.model_dump(include={"token", "hwid", "user_id", "platform"}, exclude_none=True)
    found = Device.objects.filter(project_id=project_id, **exact)
    if asked.valid is not None:
        found = found.filter(valid=asked.valid == "true")
    return found if asked.cursor is None else found.filter(pk__lt=int(asked.cursor))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= _MAX_ID
