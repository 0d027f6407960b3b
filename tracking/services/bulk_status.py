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

MATCHES = 100  # messages with the same id that are counted; what more there are costs an external_id nothing

# `named`: each text with its newest message, and how many there are
_NAMED = SELECT.replace("SELECT ", "SELECT named.text, named.matches, ", 1) + " JOIN ({}) named ON m.id = named.id"
# + 0: never by the index of projects, which would go through all of their messages for an id that is rare
_BY_EXTERNAL_ID = _NAMED.format("""
    SELECT asked.text, found.matches, found.id FROM unnest(%(texts)s::text[]) asked(text) CROSS JOIN LATERAL (
        SELECT count(*) AS matches, (array_agg(id ORDER BY id DESC))[1] AS id FROM (
            SELECT id FROM message
            WHERE external_id = asked.text AND external_id <> '' AND project_id + 0 = %(project)s
            ORDER BY id DESC LIMIT %(most)s
        ) newest
    ) found""")
# No index has a reference's attempts in the order of their messages: all are gone through, one row is answered
_BY_REFERENCE = _NAMED.format("""
    SELECT t.reference AS text, least(count(DISTINCT t.message_id), %(most)s) AS matches,
        max(t.message_id::text COLLATE "C")::uuid AS id
    FROM attempt t JOIN message own ON own.id = t.message_id AND own.project_id = %(project)s
    WHERE t.reference = ANY(%(texts)s) AND t.reference <> '' GROUP BY t.reference""")


def asked(document: Any) -> list[str]:
    """The ids of a request. Raises schema.Invalid."""
    return schema.bulk_status(document)


def statuses(project_id: int, wanted: Sequence[str], *, since: datetime) -> list[Shape]:
    """An entry for each id, in the order of `wanted`. `since`: when the project began; older ids cannot be its own."""
    own = {text: key for text in wanted if (key := _uuid(text))}
    by_id = _by_id(project_id, set(own.values()))
    found = {text: (1, by_id[key]) for text, key in own.items() if key in by_id}
    for query in (_BY_EXTERNAL_ID, _BY_REFERENCE):
        found |= _newest(query, project_id, [text for text in wanted if text not in found])
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


def _newest(query: str, project_id: int, texts: list[str]) -> dict[str, tuple[int, Shape]]:
    """Of each text that is known: how many messages have it, and the newest."""
    if not texts:
        return {}
    rows = _rows(query, {"texts": list(dict.fromkeys(texts)), "project": project_id, "most": MATCHES})
    return {text: (matches, shape.message(*row)) for text, matches, *row in rows}


def _rows(query: str, params: list[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
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
