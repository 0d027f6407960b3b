"""The columns of an export: each with what it says and the SQL that makes it. Pure; docs/exports.md lists them.

The SQL speaks of `m`, a row of message, and of `a`, the last attempt of it. Times stand as PostgreSQL writes them: any
form made in SQL would take twice as long. Whoever runs it sets TimeZone and DateStyle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A spreadsheet takes a cell that begins with one of these for a formula; the apostrophe makes it a text again.
_HOSTILE = ", ".join(str(ord(sign)) for sign in "=+-@\t\r\n＝＋－＠")


@dataclass(frozen=True, slots=True)
class Column:
    what: str
    sql: str
    ours: bool = True  # not text that somebody else chose, which a spreadsheet may take for a formula
    usual: bool = True
    of_attempt: bool = False

    def safe(self) -> str:
        """For a cell of a spreadsheet."""
        if self.ours:
            return self.sql
        return f"CASE WHEN ascii({self.sql}) IN ({_HOSTILE}) THEN '''' || ({self.sql}) ELSE {self.sql} END"


def _code(column: str, table: str) -> str:
    """By a map in the statement, which costs less than a join and keeps the order."""
    return f"codes.{table} ->> m.{column}::text"


def _text(name: str) -> str:
    return f"nullif(m.{name}, '')"


def _attempt(what: str, sql: str, *, ours: bool = True) -> Column:
    return Column(what, sql, ours=ours, usual=False, of_attempt=True)


_CREATED = "to_timestamp(('x' || translate(left(m.id::text, 13), '-', ''))::bit(48)::bigint / 1000::float8)"
COLUMNS: Mapping[str, Column] = {
    "id": Column("Postroom’s id of the message", "m.id"),
    "external_id": Column("the application’s own id", _text("external_id"), ours=False),
    "project": Column("code of the project", _code("project_id", "projects")),
    "channel": Column("email, sms, push or chat", "m.channel"),
    "recipient": Column("the address, number or token", "m.recipient", ours=False),
    "status": Column("one of the nine statuses", "m.status"),
    "reason": Column("why it failed, bounced or was cancelled", _text("reason")),
    "provider": Column("code of the account it went through", _code("account_id", "accounts"), ours=False),
    "provider_message_id": Column("the provider’s id", _text("reference"), ours=False),
    "attempts": Column("how often it was handed to a provider", "m.attempts"),
    "batch_id": Column("the batch it was handed in with", "m.batch_id"),
    "category": Column("as the application named it", _text("category"), ours=False),
    "template_id": Column("as the application named it", _text("template_id"), ours=False),
    "tags": Column("the tags: a JSON list", "array_to_json(m.tags)"),
    "created_at": Column("when it was accepted, to the millisecond", _CREATED),
    "sent_at": Column("when a provider took it", "m.sent_at"),
    "delivered_at": Column("when it was delivered", "m.delivered_at"),
    "read_at": Column("when it was read", "m.read_at"),
    "failed_at": Column("when it failed or bounced", "m.failed_at"),
    "delivery_seconds": Column(
        "from sent_at to delivered_at", "round(extract(epoch FROM m.delivered_at - m.sent_at), 3)", usual=False
    ),
    "priority": Column("0 to 9", "m.priority", usual=False),
    "scheduled_at": Column("when it was to be sent", "m.scheduled_at", usual=False),
    "expires_at": Column("after which it was not to be sent any more", "m.expires_at", usual=False),
    "failure": _attempt("failure class of the last attempt", "a.failure"),
    "bounce": _attempt("bounce class of the last attempt", "a.bounce"),
    "error_code": _attempt("the provider’s code, of the last attempt", "nullif(a.code, '')", ours=False),
    "error_text": _attempt("the provider’s words, of the last attempt", "nullif(a.text, '')", ours=False),
}
USUAL = tuple(name for name, column in COLUMNS.items() if column.usual)
# What the statements read of a message.
FIELDS = (
    *("id", "project_id", "account_id", "batch_id", "channel", "recipient", "external_id", "category", "template_id"),
    *("tags", "priority", "scheduled_at", "expires_at", "status", "reason", "sent_at", "delivered_at", "read_at"),
    *("failed_at", "attempts", "reference"),
)
_ATTEMPT = (
    " LEFT JOIN LATERAL (SELECT failure, bounce, code, text FROM attempt"
    " WHERE message_id = m.id AND number = m.attempts) a ON true"
)
# Neither character can stand in JSON text, so that COPY has nothing to quote.
_AS_IT_IS = r"(FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')"


def header(names: Sequence[str]) -> bytes:
    return (",".join(names) + "\n").encode()


def copy_csv(names: Sequence[str], rows: str, codes: str) -> str:
    """`rows`: SQL of FIELDS, in their order. `codes`: SQL of `projects` and `accounts`, jsonb maps from id to code."""
    cells = ", ".join(COLUMNS[name].safe() for name in names)
    return f"COPY (SELECT {cells}{_of(names, rows, codes)}) TO STDOUT (FORMAT csv)"


def copy_jsonl(names: Sequence[str], rows: str, codes: str) -> str:
    values = ", ".join(f"{COLUMNS[name].sql} AS {name}" for name in names)
    return f"COPY (SELECT row_to_json(r) FROM (SELECT {values}{_of(names, rows, codes)}) r) TO STDOUT {_AS_IT_IS}"


def _of(names: Sequence[str], rows: str, codes: str) -> str:
    attempt = _ATTEMPT if any(COLUMNS[name].of_attempt for name in names) else ""
    return f" FROM ({rows}) m ({', '.join(FIELDS)}) CROSS JOIN ({codes}) codes{attempt} ORDER BY m.id"
