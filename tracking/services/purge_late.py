"""What changed after a purge had asked for its exports, and so may stand in none of them: it waits for the next purge.
Called by purge and purge_rows.

Clocks do not tell: a receipt that waited is on record with the time when it came in. The numbers of transactions do:
every change of a message leaves a row in its events, and a row keeps the low 32 bits of its transaction's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from tracking import ids
from tracking.partitions import WEEK

_LATE = (
    # Read by now is what is below the snapshot's end; a number between the horizon and there can only be a late one.
    " CROSS JOIN (SELECT %s::bigint AS horizon, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ends) seen"
    " WHERE ((e.xmin::text::bigint - horizon) & 4294967295) < ends - horizon"
)
_AMONG = f"SELECT DISTINCT message_id FROM event e{_LATE} AND message_id = ANY(%s) AND message_id BETWEEN %s AND %s"
_IN_WEEK = (
    f"SELECT EXISTS (SELECT FROM event e JOIN message m ON m.id = e.message_id{_LATE}"
    " AND e.message_id >= %s AND e.message_id < %s AND m.id >= %s AND m.id < %s AND m.project_id = ANY(%s))"
)


def horizon() -> int:
    """The oldest transaction under way: all older ones are seen by whatever looks from now on."""
    return int(_value("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint", []))


def among(keys: Sequence[UUID], since: int) -> set[UUID]:
    """Those of these messages, given in order, that a transaction from this horizon on has changed. Final for messages
    that the caller has locked in a statement before."""
    with connection.cursor() as cursor:
        cursor.execute(_AMONG, [since, list(keys), keys[0], keys[-1]])
        return {key for (key,) in cursor.fetchall()}


def in_week(week: datetime, projects: Sequence[int], since: int) -> bool:
    """Whether there are any of a week's messages of these projects."""
    bounds = [ids.floor(week), ids.floor(week + WEEK)]
    return bool(projects) and bool(_value(_IN_WEEK, [since, *bounds * 2, list(projects)]))


def _value(query: str, params: list[Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return cursor.fetchone()[0]
