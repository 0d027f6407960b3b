"""Erasure, messages to others: where these name the recipient, as a copy, in a text, in a link or in an id that was
made of the address, the name goes. Called by erase_messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from tracking.models.channel import RECIPIENT
from tracking.redact import Needle, document
from tracking.services.erase_target import Target, execute, rows

Redaction = Callable[[Needle, Any], Any]
Window = tuple[UUID, UUID]


def _text(longest: int | None = None) -> Redaction:
    return lambda needle, value: needle.text(value)[:longest]


def _id(longest: int) -> Redaction:
    return lambda needle, value: needle.inside(value)[:longest]


def _ids(needle: Needle, value: list[str]) -> list[str]:
    return [needle.inside(each)[:100] for each in value]


def _texts(needle: Needle, value: list[str]) -> list[str]:
    return [needle.text(each) for each in value]


def _channel(needle: Needle, value: str) -> str:
    """A message to a channel whose key was made of the address."""
    return needle.inside(value)[:500] if value.startswith(RECIPIENT) else value


@dataclass(frozen=True, slots=True)
class _Place:
    table: str
    key: tuple[str, ...]
    columns: Mapping[str, Redaction]
    also: str = ""  # SQL: looked at even if no text matches; takes the spellings
    of: str = "message_id"


_PLACES = (
    _Place(
        "message",
        ("id",),
        {"recipient": _channel, "external_id": _id(200), "tags": _ids, "reference": _id(300)},
        of="id",
    ),
    # whoever wrote a message to a channel is its sender, however short their id is
    _Place("content", ("message_id",), {"body": Needle.json}, also=" OR lower(t.body ->> 'sender') = ANY(%s)"),
    _Place("attempt", ("message_id", "number"), {"reference": _id(300), "code": _text(100), "text": _text(1000)}),
    _Place("event", ("message_id", "dedupe_key"), {"code": _text(100), "text": _text(1000), "detail": Needle.json}),
    _Place("engagement_tracked", ("message_id", "attempt"), {"targets": _texts}),
    _Place("engagement_visit", ("message_id", "id"), {"url": _text(), "agent": _text(200)}),
    _Place("webhook_delivery", ("id",), {"payload": Needle.ids}),
)
_DOCUMENTS = (Needle.json, Needle.ids)
_OF_PROJECT = (
    " JOIN message m ON m.id = {of} AND m.project_id = %s AND m.id > %s AND m.id <= %s"
    " WHERE {of} > %s AND {of} <= %s AND ({condition})"
)


def redact(target: Target, window: Window) -> dict[str, int]:
    """The messages with ids in (first, last]."""
    counts = {place.table: _in(place, target, window) for place in _PLACES}
    return {**counts, "webhook_attempt": _answers(target, window)}


def _of_project(of: str, condition: str) -> str:
    return _OF_PROJECT.format(of=of, condition=condition)


def _in(place: _Place, target: Target, window: Window) -> int:
    names = list(place.columns)
    like = " OR ".join(f"lower(t.{name}::text) LIKE ANY(%s)" for name in names)
    wanted = ", ".join(f"t.{name}" for name in (*place.key, *names))
    query = f"SELECT {wanted} FROM {place.table} t" + _of_project(f"t.{place.of}", like + place.also)
    params = [target.project_id, *window, *window, *[target.needle.like] * len(names)]
    params += [target.needle.folded] if place.also else []
    changed = 0
    for found in rows(query, params):
        key, values = found[: len(place.key)], found[len(place.key) :]
        changed += _changed(place, target.needle, key, dict(zip(names, values, strict=True)))
    return changed


def _changed(place: _Place, needle: Needle, key: tuple[Any, ...], stored: dict[str, Any]) -> int:
    before = {name: _read(place.columns[name], value) for name, value in stored.items()}
    after = {name: None if value is None else place.columns[name](needle, value) for name, value in before.items()}
    if after == before:
        return 0
    casts = {name: "::jsonb" if how in _DOCUMENTS else "" for name, how in place.columns.items()}
    setting = ", ".join(f"{name} = %s{cast}" for name, cast in casts.items())
    values = [_written(place.columns[name], value) for name, value in after.items()]
    among = " AND ".join(f"{name} = %s" for name in place.key)
    return execute(f"UPDATE {place.table} SET {setting} WHERE {among}", [*values, *key])


def _read(how: Redaction, value: Any) -> Any:
    return document(value) if how in _DOCUMENTS else value


def _written(how: Redaction, value: Any) -> Any:
    return orjson.dumps(value).decode() if how in _DOCUMENTS and value is not None else value


def _answers(target: Target, window: Window) -> int:
    """What endpoints answered."""
    query = (
        "UPDATE webhook_attempt SET answer = '' WHERE id IN (SELECT a.id FROM webhook_attempt a"
        " JOIN webhook_delivery t ON t.id = a.delivery_id"
    )
    condition = _of_project("t.message_id", "lower(a.answer) LIKE ANY(%s)")
    return execute(f"{query}{condition})", [target.project_id, *window, *window, target.needle.like])
