"""The SQL under `services.record`: locked reads and batch writes of messages, attempts, events. Called by record only.

Rows travel to PostgreSQL as one JSON document a statement (jsonb_to_recordset): one round trip for any number of rows.
Every statement also says the ids' range, which prunes the partitions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection
from psycopg.types.datetime import TimestamptzLoader

from providers.base import BounceClass, FailureClass
from tracking import counters
from tracking.rows import AttemptRow, MessageRow
from tracking.statuses import Attempt, Decision, Fact, FactKind, Status

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

# column → type: what is read, and what may change after the insert
MESSAGE_FIXED = {"id": "uuid", "project_id": "bigint", "channel": "text", "recipient": "text"}
MESSAGE_MOVING = {
    "status": "text",
    "decision": "text",
    "account_id": "bigint",
    "reason": "text",
    "sent_at": "timestamptz",
    "delivered_at": "timestamptz",
    "read_at": "timestamptz",
    "failed_at": "timestamptz",
    "attempts": "smallint",
    "decisions": "smallint",
    "decided_after": "smallint",
    "budget_from": "smallint",
    "operator_retries": "smallint",
    "leg": "smallint",
    "reference": "text",
}
MESSAGE_READ = {
    "priority": "smallint",
    "expires_at": "timestamptz",
    "retry": "jsonb",
    "template_id": "text",
    "category": "text",
}
MESSAGE_EXTRA = {  # written once by submit, read by nobody here
    "batch_id": "bigint",
    "external_id": "text",
    "tags": "text[]",
    "scheduled_at": "timestamptz",
}
ATTEMPT_KEY = {"message_id": "uuid", "number": "smallint"}
ATTEMPT_FIXED = {"account_id": "bigint", "leg": "smallint", "idempotency_key": "text", "started_at": "timestamptz"}
FACT_TIMES = (
    "accepted_at",
    "delivered_at",
    "opened_at",
    "clicked_at",
    "read_at",
    "machine_opened_at",
    "hard_bounced_at",
    "bounced_at",
    "failed_at",
    "unknown_at",
    "complained_at",
    "unsubscribed_at",
)
ATTEMPT_FACTS = {
    **dict.fromkeys(FACT_TIMES, "timestamptz"),
    "failure": "text",
    "bounce": "text",
    "cause_at": "timestamptz",
    "code": "text",
    "text": "text",
}
ATTEMPT_MOVING = {"finished_at": "timestamptz", "reference": "text", **ATTEMPT_FACTS}
EVENT = {
    "message_id": "uuid",
    "dedupe_key": "text",
    "kind": "text",
    "attempt": "smallint",
    "number": "smallint",
    "occurred_at": "timestamptz",
    "said_at": "timestamptz",
    "recorded_at": "timestamptz",
    "source": "text",
    "account_id": "bigint",
    "inbound_id": "uuid",
    "failure": "text",
    "bounce": "text",
    "machine": "boolean",
    "code": "text",
    "text": "text",
    "detail": "jsonb",
}


def _insert(table: str, columns: Mapping[str, str], tail: str = "") -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    record = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM jsonb_to_recordset(%s::jsonb) AS r ({record}) {tail}"


def _update(table: str, key: Mapping[str, str], columns: Mapping[str, str]) -> str:
    record = ", ".join(f'"{name}" {kind}' for name, kind in {**key, **columns}.items())
    sets = ", ".join(f'"{name}" = r."{name}"' for name in columns)
    match = " AND ".join(f't."{name}" = r."{name}"' for name in key)
    first = next(iter(key))
    return (
        f"UPDATE {table} t SET {sets} FROM jsonb_to_recordset(%s::jsonb) AS r ({record})"
        f" WHERE {match} AND t.{first} BETWEEN %s AND %s"
    )


_READ_MESSAGE = [*MESSAGE_FIXED, *MESSAGE_MOVING, *MESSAGE_READ]
_LOCK = (
    f"SELECT {', '.join(_READ_MESSAGE)} FROM message"
    " WHERE id = ANY(%s) AND id BETWEEN %s AND %s ORDER BY id FOR NO KEY UPDATE"
)
_PAGE = f"SELECT {', '.join(_READ_MESSAGE)} FROM message WHERE id > %s AND id < %s ORDER BY id LIMIT %s"
_READ = f"SELECT {', '.join(_READ_MESSAGE)} FROM message WHERE id = ANY(%s) AND id BETWEEN %s AND %s ORDER BY id"
_READ_ATTEMPT = [*ATTEMPT_KEY, *ATTEMPT_FIXED, "finished_at", "reference"]
_ATTEMPTS = (
    f"SELECT {', '.join(_READ_ATTEMPT)}, {', '.join(ATTEMPT_FACTS)} FROM attempt"
    " WHERE message_id = ANY(%s) AND message_id BETWEEN %s AND %s ORDER BY message_id, number"
)
_INSERT_MESSAGE = _insert("message", {**MESSAGE_FIXED, **MESSAGE_MOVING, **MESSAGE_READ, **MESSAGE_EXTRA})
_INSERT_CONTENT = _insert("content", {"message_id": "uuid", "body": "jsonb"})
_INSERT_QUEUE = _insert(
    "queue",
    {
        "message_id": "uuid",
        "project_id": "bigint",
        "account_id": "bigint",
        "priority": "smallint",
        "due_at": "timestamptz",
        "expires_at": "timestamptz",
    },
    "ON CONFLICT DO NOTHING",
)
_DROP = (
    "DELETE FROM queue q USING jsonb_to_recordset(%s::jsonb) AS r (message_id uuid, lease_token uuid)"
    " WHERE q.message_id = r.message_id AND q.lease_token = r.lease_token"
)
_RELEASE = (
    "UPDATE queue q SET lease_token = NULL, lease_until = NULL, due_at = r.due_at"
    " FROM jsonb_to_recordset(%s::jsonb) AS r (message_id uuid, lease_token uuid, due_at timestamptz)"
    " WHERE q.message_id = r.message_id AND q.lease_token = r.lease_token"
)
_INSERT_ATTEMPT = _insert("attempt", {**ATTEMPT_KEY, **ATTEMPT_FIXED, **ATTEMPT_MOVING})
_INSERT_EVENT = _insert("event", EVENT, "ON CONFLICT DO NOTHING RETURNING message_id, dedupe_key")
_INSERT_DELTA = _insert(
    "metric_delta",
    {
        "minute": "timestamptz",
        "project_id": "bigint",
        "channel": "text",
        "account_id": "bigint",
        "kind": "text",
        "label": "text",
        "counts": "jsonb",
    },
)


_END = UUID(int=2**128 - 1)


def lock_messages(message_ids: Collection[UUID]) -> dict[UUID, MessageRow]:
    """The messages that exist, with their attempts, locked in id order."""
    if not message_ids:
        return {}
    keys = _in_order(set(message_ids))
    return _load(_LOCK, (keys, keys[0], keys[-1]))


def read_messages(message_ids: Collection[UUID]) -> dict[UUID, MessageRow]:
    """As `lock_messages`, without locking: for checks, which change nothing."""
    keys = _in_order(set(message_ids))
    return _load(_READ, (keys, keys[0], keys[-1])) if keys else {}


def read_page(after: UUID, limit: int, before: UUID = _END) -> dict[UUID, MessageRow]:
    """The next messages in id order, with their attempts, without locking."""
    return _load(_PAGE, (after, before, limit))


def _load(statement: str, params: Sequence[Any]) -> dict[UUID, MessageRow]:
    with connection.cursor() as cursor:
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)  # ten times as fast as Django's own
        cursor.execute(statement, params)
        rows = {row[0]: _message(row) for row in cursor.fetchall()}
        if rows and (statement is not _LOCK or any(row.attempts for row in rows.values())):
            keys = list(rows)
            cursor.execute(_ATTEMPTS, (keys, keys[0], keys[-1]))
            for values in cursor.fetchall():
                if (message := rows.get(values[0])) is not None:
                    message.tries.append(_attempt(values))
    return rows


def _message(values: Sequence[Any]) -> MessageRow:
    row = MessageRow(*values)  # the columns stand in the order of its fields
    row.status, row.decision = Status(row.status), Decision(row.decision)
    if isinstance(row.retry, str):
        row.retry = orjson.loads(row.retry)
    return row


def _attempt(values: Sequence[Any]) -> AttemptRow:
    message_id, number, account_id, leg, key, started_at, finished_at, reference, *facts = values
    *times, failure, bounce, cause_at, code, text = facts
    return AttemptRow(
        message_id,
        Attempt._make(
            (
                number,
                *times,
                FailureClass(failure) if failure else None,
                BounceClass(bounce) if bounce else None,
                cause_at,
                code,
                text,
            )
        ),
        account_id,
        leg,
        key,
        started_at,
        finished_at,
        reference,
    )


class Write(NamedTuple):
    """A statement, its rows, and the range of their ids where it has one."""

    statement: str
    rows: Sequence[dict[str, Any]]
    bounds: tuple[UUID, ...] = ()


def write(writes: Iterable[Write]) -> None:
    """All of them in one statement: a round trip costs about as much as a write. No two may touch the same row."""
    wanted = [each for each in writes if each.rows]
    if wanted:
        *before, last = (each.statement for each in wanted)
        steps = ", ".join(f"w{number} AS ({statement})" for number, statement in enumerate(before))
        params: list[str | UUID] = []
        for each in wanted:
            params += [orjson.dumps(each.rows).decode(), *each.bounds]
        with connection.cursor() as cursor:
            cursor.execute(f"WITH {steps} {last}" if steps else last, params)


def messages(rows: Sequence[MessageRow]) -> Write:
    columns = _columns(rows, MESSAGE_WRITTEN)
    return Write(_INSERT_MESSAGE, [{**values, **row.extra} for values, row in zip(columns, rows, strict=True)])


MESSAGE_WRITTEN = (*MESSAGE_FIXED, *MESSAGE_MOVING, *MESSAGE_READ)


def contents(bodies: Mapping[UUID, dict[str, Any]]) -> Write:
    return Write(_INSERT_CONTENT, [{"message_id": key, "body": body} for key, body in bodies.items()])


def queue_row(row: MessageRow, due_at: datetime) -> dict[str, Any]:
    """What the queue needs to know of a message that is to be sent through its account."""
    return {
        "message_id": row.id,
        "project_id": row.project_id,
        "account_id": row.account_id,
        "priority": row.priority,
        "due_at": due_at,
        "expires_at": row.expires_at,
    }


def queued(rows: Sequence[dict[str, Any]]) -> Write:
    """A send of these is wanted: a `queue_row` of each."""
    return Write(_INSERT_QUEUE, rows)


def dropped(leases: Iterable[tuple[UUID, UUID]]) -> Write:
    """No further send is wanted of these, given with their lease's token."""
    return Write(_DROP, [{"message_id": key, "lease_token": token} for key, token in leases])


def released(leases: Iterable[tuple[UUID, UUID, datetime]]) -> Write:
    """These are due again at the given moments, if the lease still holds."""
    rows = [{"message_id": key, "lease_token": token, "due_at": due} for key, token, due in leases]
    return Write(_RELEASE, rows)


def add_to_queue(row: dict[str, Any]) -> bool:
    """As `queued`, for a message that is known already. False where it stands there already."""
    with connection.cursor() as cursor:
        _run(cursor, _INSERT_QUEUE, [row])
        return bool(cursor.rowcount == 1)


def take_from_queue(message_ids: Collection[UUID]) -> set[UUID]:
    """Nothing more is to be sent of these: those that waited there. A leased row is left to its holder, who will see.
    Never waits: a claim holds queue rows while it waits for messages."""
    if not message_ids:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM queue WHERE message_id IN (SELECT message_id FROM queue WHERE message_id = ANY(%s)"
            " AND lease_token IS NULL FOR UPDATE SKIP LOCKED) RETURNING message_id",
            [list(message_ids)],
        )
        return {key for (key,) in cursor.fetchall()}


def attempts(rows: Sequence[AttemptRow]) -> Write:
    return Write(_INSERT_ATTEMPT, [_attempt_columns(row) for row in rows])


def changed_messages(pairs: Iterable[tuple[MessageRow, MessageRow]]) -> Write:
    """Of (row, row before)."""
    values = attrgetter(*MESSAGE_MOVING)
    changes = [((row.id,), values(row), values(before)) for row, before in pairs]
    return _changed("message", {"id": "uuid"}, MESSAGE_MOVING, changes)


def changed_attempts(pairs: Iterable[tuple[AttemptRow, AttemptRow]]) -> Write:
    """Of (row, row before)."""
    changes = [((row.message_id, row.number), _moving(row), _moving(before)) for row, before in pairs]
    return _changed("attempt", ATTEMPT_KEY, ATTEMPT_MOVING, changes)


def _moving(row: AttemptRow) -> tuple[Any, ...]:
    return row.finished_at, row.reference, *row.facts[1:]


Values = tuple[Any, ...]


def _changed(
    table: str, key: Mapping[str, str], columns: Mapping[str, str], changes: Sequence[tuple[Values, Values, Values]]
) -> Write:
    """The rows (key, values, values before) that changed, in the columns that changed in any of them: receipts change
    few, and a column that is not sent costs nothing."""
    changes = [change for change in changes if change[1] != change[2]]
    now, before = (list(zip(*side, strict=True)) for side in ([c[1] for c in changes], [c[2] for c in changes]))
    places = [place for place, (a, b) in enumerate(zip(now, before, strict=True)) if a != b]
    names = [list(columns)[place] for place in places]
    rows = [dict(zip((*key, *names), (*k, *(v[p] for p in places)), strict=True)) for k, v, _ in changes]
    return Write(_update(table, key, {name: columns[name] for name in names}), rows, _bounds(k[0] for k, *_ in changes))


def events(rows: Sequence[dict[str, Any]]) -> Write:
    return Write(_INSERT_EVENT, rows)


def insert_events(events: Sequence[dict[str, Any]]) -> set[tuple[UUID, str]]:
    """Insert what is new; the (message, dedupe key) pairs that were."""
    if not events:
        return set()
    with connection.cursor() as cursor:
        _run(cursor, _INSERT_EVENT, events)
        return set(cursor.fetchall())


def deltas(counted: counters.Deltas) -> Write:
    rows = [{**bucket._asdict(), "counts": counts} for bucket, counts in counters.by_bucket(counted).items()]
    return Write(_INSERT_DELTA, rows)


def history_of(message_ids: Collection[UUID]) -> Iterator[tuple[UUID, int, Fact | tuple[int, Decision]]]:
    """(message, attempt number, fact) and (message, attempts at the time, (place, decision)) of every event."""
    keys = _in_order(message_ids)
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
            yield (
                message_id,
                attempt,
                Fact(
                    FactKind(kind),
                    at,
                    FailureClass(failure) if failure else None,
                    BounceClass(bounce) if bounce else None,
                    code,
                    text,
                    machine,
                ),
            )


def _columns(rows: Iterable[MessageRow], names: Sequence[str]) -> list[dict[str, Any]]:
    values = attrgetter(*names)
    return [dict(zip(names, values(row), strict=True)) for row in rows]


def _attempt_columns(row: AttemptRow) -> dict[str, Any]:
    return {
        **row.facts._asdict(),
        "message_id": row.message_id,
        "account_id": row.account_id,
        "leg": row.leg,
        "idempotency_key": row.idempotency_key,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "reference": row.reference,
    }


def _in_order(keys: Iterable[UUID]) -> list[UUID]:
    return sorted(keys, key=attrgetter("int"))  # UUIDs themselves are compared in Python, and slowly


def _bounds(keys: Iterable[UUID]) -> tuple[UUID, ...]:
    ordered = _in_order(keys)
    return (ordered[0], ordered[-1]) if ordered else ()


def _run(cursor: CursorWrapper, statement: str, rows: Sequence[dict[str, Any]]) -> None:
    cursor.execute(statement, (orjson.dumps(rows).decode(),))
