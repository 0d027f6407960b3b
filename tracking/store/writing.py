"""Writes messages, attempts, events and metric deltas: any number of rows, one statement. Called by services.record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from tracking import counters
from tracking.prepared import prepared
from tracking.rows import AttemptRow, MessageRow
from tracking.store import columns as c
from tracking.store.reading import bounds


class Write(NamedTuple):
    """A statement, its rows, the range of their ids where it has one, and how an INSERT ends."""

    statement: str
    rows: Sequence[dict[str, Any]]
    bounds: tuple[UUID, ...] = ()
    tail: str = ""


class Condition(NamedTuple):
    """A query and its parameters; it holds where there is a row."""

    query: str
    params: tuple[Any, ...]


class Unwritten(Exception):
    """The condition held."""


def write(writes: Iterable[Write], *, unless: Condition | None = None) -> int:
    """All of them in one statement: a round trip costs about as much as a write. No two may touch the same row.

    `unless`: for new rows only; where it holds, nothing is written. Raises Unwritten then. How many rows the last of
    them has written.
    """
    wanted = [each for each in writes if each.rows]
    if not wanted:
        return 0
    stop = " WHERE NOT EXISTS (SELECT FROM stop)" if unless else ""
    *before, last = (f"{each.statement}{stop} {each.tail}" for each in wanted)
    steps = [f"stop AS ({unless.query})"] if unless else []
    steps += [f"w{number} AS ({statement})" for number, statement in enumerate(before)]
    params: list[Any] = list(unless.params) if unless else []
    for each in wanted:
        params += [orjson.dumps(each.rows).decode(), *each.bounds]
    with prepared(), connection.cursor() as cursor:
        cursor.execute(f"WITH {', '.join(steps)} {last}" if steps else last, params)
        if unless and not cursor.rowcount:
            raise Unwritten
        return int(cursor.rowcount)


def inserted(
    table: str,
    kinds: Mapping[str, str],
    rows: Sequence[dict[str, Any]],
    *,
    empty: Mapping[str, str] | None = None,
    tail: str = "",
) -> Write:
    """New rows. What a row does not say is null, or as `empty` has it: most columns of most rows are never sent."""
    said = frozenset(name for row in rows for name in row)
    return Write(_insert(table, tuple(kinds.items()), said, tuple((empty or {}).items())), rows, tail=tail)


@lru_cache(maxsize=512)
def _insert(
    table: str, kinds: tuple[tuple[str, str], ...], said: frozenset[str], empty: tuple[tuple[str, str], ...]
) -> str:
    nothing = dict(empty)
    there = [name for name, _ in kinds if name in said or name in nothing]
    values = [_value(name, said, nothing.get(name)) for name in there]
    record = ", ".join(f'"{name}" {kind}' for name, kind in kinds if name in said)
    names = ", ".join(f'"{name}"' for name in there)
    source = f"json_to_recordset(%s::json) AS r ({record})"
    return f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM {source}"


def _value(name: str, said: frozenset[str], nothing: str | None) -> str:
    if name not in said:
        return nothing or "NULL"
    return f'coalesce("{name}", {nothing})' if nothing else f'"{name}"'


def updated(table: str, key: Mapping[str, str], kinds: Mapping[str, str], rows: Sequence[dict[str, Any]]) -> Write:
    """Changes of these columns, of rows found by their key."""
    first = next(iter(key))
    statement = _update(table, tuple(key.items()), tuple(kinds.items()))
    return Write(statement, rows, bounds([row[first] for row in rows]))


@lru_cache(maxsize=512)
def _update(table: str, key: tuple[tuple[str, str], ...], kinds: tuple[tuple[str, str], ...]) -> str:
    record = ", ".join(f'"{name}" {kind}' for name, kind in (*key, *kinds))
    sets = ", ".join(f'"{name}" = r."{name}"' for name, _ in kinds)
    match = " AND ".join(f't."{name}" = r."{name}"' for name, _ in key)
    return (
        f"UPDATE {table} t SET {sets} FROM json_to_recordset(%s::json) AS r ({record})"
        f" WHERE {match} AND t.{key[0][0]} BETWEEN %s AND %s"
    )


# --- new rows

_MESSAGE = {**c.MESSAGE_FIXED, **c.MESSAGE_MOVING, **c.MESSAGE_READ, **c.MESSAGE_EXTRA}
_WRITTEN = (*c.MESSAGE_FIXED, *c.MESSAGE_MOVING, *c.MESSAGE_READ)
_message_values = attrgetter(*_WRITTEN)
_ATTEMPT = {**c.ATTEMPT_KEY, **c.ATTEMPT_FIXED, **c.ATTEMPT_MOVING, **c.ATTEMPT_PRICE}
_attempt_values = attrgetter("message_id", *c.ATTEMPT_FIXED, "finished_at", "reference")


def messages(rows: Sequence[MessageRow]) -> Write:
    said = [_said({**dict(zip(_WRITTEN, _message_values(row), strict=True)), **row.extra}) for row in rows]
    return inserted("message", _MESSAGE, said, empty=c.MESSAGE_EMPTY)


def contents(bodies: Mapping[UUID, dict[str, Any]]) -> Write:
    rows = [{"message_id": key, "body": body} for key, body in bodies.items()]
    return inserted("content", {"message_id": "uuid", "body": "jsonb"}, rows)


def attempts(rows: Sequence[AttemptRow]) -> Write:
    names = ("message_id", *c.ATTEMPT_FIXED, "finished_at", "reference")
    said = [
        _said({**row.facts._asdict(), **dict(zip(names, _attempt_values(row), strict=True)), **_price(row)})
        for row in rows
    ]
    return inserted("attempt", _ATTEMPT, said, empty=c.ATTEMPT_EMPTY)


def _price(row: AttemptRow) -> dict[str, Any]:
    """Nothing is a price, too."""
    return {**row.price._asdict(), "price": str(row.price.price)} if row.price else {}


def events(rows: Sequence[dict[str, Any]]) -> Write:
    return inserted("event", c.EVENT, rows, empty=c.EVENT_EMPTY, tail="ON CONFLICT DO NOTHING")


def deltas(counted: counters.Deltas) -> Write:
    rows = [_said({**bucket._asdict(), "counts": counts}) for bucket, counts in counters.by_bucket(counted).items()]
    return inserted("metric_delta", c.DELTA, rows, empty=c.DELTA_EMPTY)


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing: in every column, that is what stands there anyway."""
    return {name: value for name, value in row.items() if value}


# --- changes


def changed_messages(pairs: Iterable[tuple[MessageRow, MessageRow]]) -> Write:
    """Of (row, row before)."""
    values = attrgetter(*c.MESSAGE_MOVING)
    changes = [((row.id,), values(row), values(before)) for row, before in pairs]
    return _changed("message", {"id": "uuid"}, c.MESSAGE_MOVING, changes)


def changed_attempts(pairs: Iterable[tuple[AttemptRow, AttemptRow]]) -> Write:
    """Of (row, row before)."""
    changes = [((row.message_id, row.number), _moving(row), _moving(before)) for row, before in pairs]
    return _changed("attempt", c.ATTEMPT_KEY, c.ATTEMPT_MOVING, changes)


def _moving(row: AttemptRow) -> tuple[Any, ...]:
    return row.finished_at, row.reference, *row.facts[1:]


Values = tuple[Any, ...]


def _changed(
    table: str, key: Mapping[str, str], kinds: Mapping[str, str], changes: Sequence[tuple[Values, Values, Values]]
) -> Write:
    """The rows (key, values, values before) that changed, in the columns that changed in any of them: receipts change
    few, and a column that is not sent costs nothing."""
    changes = [change for change in changes if change[1] != change[2]]
    now, before = (list(zip(*side, strict=True)) for side in ([x[1] for x in changes], [x[2] for x in changes]))
    places = [place for place, (a, b) in enumerate(zip(now, before, strict=True)) if a != b]
    names = [list(kinds)[place] for place in places]
    rows = [dict(zip((*key, *names), (*k, *(v[p] for p in places)), strict=True)) for k, v, _ in changes]
    return updated(table, key, {name: kinds[name] for name in names}, rows)
