"""Reads messages with their attempts, locked or not. Called by services.record, check and the jobs that recount."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection
from psycopg.types.datetime import TimestamptzLoader

from providers.base import BounceClass, FailureClass
from tracking.prepared import prepared
from tracking.rows import AttemptRow, MessageRow
from tracking.statuses import Attempt, Decision, Fact, FactKind, Status
from tracking.store.columns import (
    ATTEMPT_FACTS,
    ATTEMPT_FIXED,
    ATTEMPT_KEY,
    MESSAGE_FIXED,
    MESSAGE_MOVING,
    MESSAGE_READ,
)

EventKey = tuple[UUID, str]  # a message and the dedupe key of one of its events
Statement = tuple[str, Sequence[Any]]

_READ_MESSAGE = ", ".join([*MESSAGE_FIXED, *MESSAGE_MOVING, *MESSAGE_READ])
_AMONG = "id = ANY(%s) AND id BETWEEN %s AND %s ORDER BY id"
LOCK = f"SELECT {_READ_MESSAGE} FROM message WHERE {_AMONG} FOR NO KEY UPDATE"
_READ = f"SELECT {_READ_MESSAGE} FROM message WHERE {_AMONG}"
_PAGE = f"SELECT {_READ_MESSAGE} FROM message WHERE id > %s AND id < %s ORDER BY id LIMIT %s"
ATTEMPTS = (
    f"SELECT {', '.join([*ATTEMPT_KEY, *ATTEMPT_FIXED, 'finished_at', 'reference', *ATTEMPT_FACTS])} FROM attempt"
    " WHERE message_id = ANY(%s) AND message_id BETWEEN %s AND %s ORDER BY message_id, number"
)
# LATERAL … OFFSET 0: one look into the key's index for each pair, whatever the planner believes of the table's size
_KNOWN = (
    "SELECT p.id, p.key FROM unnest(%s::uuid[], %s::text[]) AS p (id, key) CROSS JOIN LATERAL (SELECT FROM event"
    " WHERE message_id = p.id AND dedupe_key = p.key AND message_id BETWEEN %s AND %s OFFSET 0) e"
)


_END = UUID(int=2**128 - 1)


class Locked(NamedTuple):
    messages: dict[UUID, MessageRow]
    known: set[EventKey]  # those of the given events that are on record


def lock_messages(message_ids: Collection[UUID], events: Collection[EventKey] = ()) -> Locked:
    """The messages that exist, with their attempts, locked in id order; and which of the events they have already."""
    if not message_ids:
        return Locked({}, set())
    keys = in_order(set(message_ids))
    bounds = (keys, keys[0], keys[-1])
    statements = [(LOCK, bounds), (ATTEMPTS, bounds), *_known(events)]
    rows, attempts, *known = _together(statements)
    return Locked(_assembled(rows, attempts), set(known[0]) if known else set())


def read_messages(message_ids: Collection[UUID]) -> dict[UUID, MessageRow]:
    """As `lock_messages`, without locking: for checks, which change nothing."""
    keys = in_order(set(message_ids))
    bounds = (keys, keys[0], keys[-1]) if keys else None
    return _assembled(*_together([(_READ, bounds), (ATTEMPTS, bounds)])) if bounds else {}


def read_page(after: UUID, limit: int, before: UUID = _END) -> dict[UUID, MessageRow]:
    """The next messages in id order, with their attempts, without locking."""
    (rows,) = _together([(_PAGE, (after, before, limit))])
    keys = [row[0] for row in rows]
    return _assembled(rows, *_together([(ATTEMPTS, (keys, keys[0], keys[-1]))])) if keys else {}


def known_events(events: Collection[EventKey]) -> set[EventKey]:
    """Those that are on record. Final only for messages that the caller has locked."""
    return set(_together(_known(events))[0]) if events else set()


def _known(events: Collection[EventKey]) -> list[Statement]:
    if not events:
        return []
    keys, texts = zip(*events, strict=True)
    return [(_KNOWN, (list(keys), list(texts), *bounds(keys)))]


def _together(statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
    """The rows of each, in one round trip."""
    with prepared(), connection.connection.pipeline():
        cursors = [connection.cursor() for _ in statements]
        for cursor, statement in zip(cursors, statements, strict=True):
            cursor.adapters.register_loader("timestamptz", TimestamptzLoader)  # ten times as fast as Django's own
            cursor.execute(*statement)
        return [cursor.fetchall() for cursor in cursors]


def _assembled(rows: Sequence[Any], attempts: Sequence[Any]) -> dict[UUID, MessageRow]:
    found = {row[0]: _message(row) for row in rows}
    for values in attempts:
        if (message := found.get(values[0])) is not None:
            message.tries.append(_attempt(values))
    return found


def _message(values: Sequence[Any]) -> MessageRow:
    row = MessageRow(*values)  # the columns stand in the order of its fields
    row.status, row.decision = _STATUSES[row.status], _DECISIONS[row.decision]
    if isinstance(row.retry, str):
        row.retry = orjson.loads(row.retry)
    return row


# a dict is ten times as fast as an enum's call
_STATUSES = {status.value: status for status in Status}
_DECISIONS = {decision.value: decision for decision in Decision}
_FAILURES: dict[str | None, FailureClass | None] = {None: None, "": None, **{each.value: each for each in FailureClass}}
_BOUNCES: dict[str | None, BounceClass | None] = {None: None, "": None, **{each.value: each for each in BounceClass}}


def _attempt(values: Sequence[Any]) -> AttemptRow:
    message_id, number, account_id, leg, key, started_at, finished_at, reference, *facts = values
    *times, failure, bounce, cause_at, code, text = facts
    learned = (number, *times, _FAILURES[failure], _BOUNCES[bounce], cause_at, code, text)
    return AttemptRow(message_id, Attempt._make(learned), account_id, leg, key, started_at, finished_at, reference)


def history_of(message_ids: Collection[UUID]) -> Iterator[tuple[UUID, int, Fact | tuple[int, Decision]]]:
    """(message, attempt number, fact) and (message, attempts at the time, (place, decision)) of every event."""
    keys = in_order(message_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT message_id, attempt, kind, number, occurred_at, failure, bounce, code, text, machine FROM event"
            " WHERE message_id = ANY(%s) AND message_id BETWEEN %s AND %s",
            [keys, keys[0], keys[-1]],
        )
        for message_id, attempt, kind, number, at, failure, bounce, code, text, machine in cursor.fetchall():
            if number is not None:
                yield message_id, attempt, (number, Decision(kind))
                continue
            fact = Fact(FactKind(kind), at, _FAILURES[failure], _BOUNCES[bounce], code, text, machine)
            yield message_id, attempt, fact


def in_order(keys: Iterable[UUID]) -> list[UUID]:
    return sorted(keys, key=attrgetter("int"))  # UUIDs themselves are compared in Python, and slowly


def bounds(keys: Collection[UUID]) -> tuple[UUID, ...]:
    """The first and the last."""
    if not keys:
        return ()
    number = attrgetter("int")
    return min(keys, key=number), max(keys, key=number)
