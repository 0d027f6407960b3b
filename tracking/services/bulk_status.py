"""The status of up to 1,000 messages at once, by any kind of id. Called by the API and DeliveryTracker. Reads only.

Looked for in this order: our own id, the caller's external_id, the provider's id. One indexed query each, and only for
what was not found before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection
from psycopg.types.datetime import TimestamptzLoader

from tracking import ids, retention, schema, shape
from tracking.services.lookup import SELECT

Shape = dict[str, Any]

_BY_ID = f"{SELECT} WHERE m.id = ANY(%s::uuid[]) AND m.id BETWEEN %s AND %s AND m.project_id = %s"
_BY_EXTERNAL_ID = f"{SELECT} WHERE m.external_id = ANY(%s) AND m.external_id <> '' AND m.project_id = %s ORDER BY m.id"
_BY_REFERENCE = SELECT.replace("SELECT ", "SELECT DISTINCT t.reference, ", 1) + (
    " JOIN attempt t ON t.message_id = m.id"
    " WHERE t.reference = ANY(%s) AND t.reference <> '' AND m.project_id = %s ORDER BY m.id"
)
_EXTERNAL_ID = shape.COLUMNS.index("m.external_id")


def asked(document: Any) -> list[str]:
    """The ids of a request. Raises schema.Invalid."""
    return schema.bulk_status(document)


def statuses(project_id: int, wanted: Sequence[str], *, since: datetime) -> list[Shape]:
    """An entry for each id, in the order of `wanted`. `since`: when the project began; older ids cannot be its own."""
    own = {text: key for text in wanted if (key := _uuid(text))}
    by_id = _by_id(project_id, set(own.values()))
    found = {text: (1, by_id[key]) for text, key in own.items() if key in by_id}
    found |= _newest(_external(project_id, [text for text in wanted if text not in found]))
    found |= _newest(_references(project_id, [text for text in wanted if text not in found]))
    purged = _purged(project_id, (key for text, key in own.items() if text not in found), since)
    return [_entry(text, found.get(text), purged=own.get(text) in purged) for text in wanted]


def _entry(text: str, found: tuple[int, Shape] | None, *, purged: bool) -> Shape:
    if found is None:
        return {"id": text, "status": None, "reason": "purged" if purged else "not_found"}
    matches, status = found
    entry = {**status, "id": text, "notification_id": status["id"]}
    return entry if matches == 1 else entry | {"matches": matches}


def _uuid(text: str) -> UUID | None:
    if not 32 <= len(text) <= 45:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None


def _by_id(project_id: int, keys: set[UUID]) -> dict[UUID, Shape]:
    if not keys:
        return {}
    place = attrgetter("int")  # a UUID compares slowly
    array = "{" + ",".join(key.hex for key in keys) + "}"
    rows = _rows(_BY_ID, [array, min(keys, key=place), max(keys, key=place), project_id])
    return {row[0]: shape.message(*row) for row in rows}


def _external(project_id: int, texts: list[str]) -> Iterable[tuple[str, Shape]]:
    if texts:
        for row in _rows(_BY_EXTERNAL_ID, [texts, project_id]):
            yield row[_EXTERNAL_ID], shape.message(*row)


def _references(project_id: int, texts: list[str]) -> Iterable[tuple[str, Shape]]:
    if texts:
        for reference, *row in _rows(_BY_REFERENCE, [texts, project_id]):
            yield reference, shape.message(*row)


def _newest(rows: Iterable[tuple[str, Shape]]) -> dict[str, tuple[int, Shape]]:
    """Rows come oldest first; of each text the last one, and how many there were."""
    found: dict[str, tuple[int, Shape]] = {}
    for text, status in rows:
        found[text] = (found.get(text, (0, status))[0] + 1, status)
    return found


def _rows(query: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        # psycopg's own loader is written in C; Django's, which this is equal to in UTC, would be half of all the work
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.execute(query, params)
        return list(cursor.fetchall())


def _purged(project_id: int, keys: Iterable[UUID], since: datetime) -> set[UUID]:
    """Those that may have been the project's once: made since it began, and older than what it keeps."""
    past = [key for key in keys if ids.is_key(key) and key >= ids.floor(since)]
    if not past:
        return set()
    gone = retention.purged_before(project_id)
    return {key for key in past if key < gone}
