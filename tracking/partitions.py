"""Weekly partitions of the big tables: create ahead, list, drop. Used by migrations, the job and submit's repair.

Partition DDL must never stop intake: a plain CREATE … PARTITION OF or DROP queues for an exclusive lock behind a long
reader, and every INSERT queues behind it. So a partition is made beside its parent and attached, and is detached
concurrently before it is dropped; both wait for a lock for a second or two at most, and try again. Detaching is several
transactions: what is to be dropped is marked first, and `finish_drops` goes on from whatever state it was left in.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.utils import IntegrityError, OperationalError, ProgrammingError
from psycopg import errors, sql

from tracking import ids

log = logging.getLogger(__name__)
Result = TypeVar("Result")

TABLES = ("message", "content", "attempt", "event", "inbound")
WEEK = timedelta(days=7)
LOCK_TRIES = 30
# Beyond deadlock_timeout (1 s), when autovacuum gives way. What waits so long while dropping stands in nobody's way.
DROP_WAIT = "2s"
DROPS_AT_ONCE = 4
_MARK = "postroom: to be dropped"
_NAME = re.compile(r"^(?P<table>[a-z]+)_(?P<year>\d{4})w(?P<week>\d{2})$")


class CreatePartitioned(migrations.CreateModel):
    """CreateModel for a table that is partitioned by range of `by`."""

    def __init__(self, *args: Any, by: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.by = by

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        name, args, kwargs = super().deconstruct()
        return name, args, kwargs | {"by": self.by}

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        create, params = schema_editor.table_sql(model)
        schema_editor.execute(f"{create} PARTITION BY RANGE ({schema_editor.quote_name(self.by)})", params or None)
        for index in model._meta.indexes:
            schema_editor.add_index(model, index)


def week_start(moment: datetime) -> datetime:
    """Monday, midnight UTC."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def name_of(table: str, monday: datetime) -> str:
    year, week, _ = monday.isocalendar()
    return f"{table}_{year}w{week:02}"


@dataclass(frozen=True, slots=True)
class Partition:
    table: str
    name: str
    starts: datetime
    bytes: int
    rows: int  # PostgreSQL's estimate, of its last ANALYZE

    @property
    def ends(self) -> datetime:
        return self.starts + WEEK


def existing() -> list[Partition]:
    """Every attached partition with its size, oldest first. One that is being detached is none any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT parent.relname, child.relname, pg_total_relation_size(child.oid),"
            " greatest(child.reltuples, 0)::bigint FROM pg_inherits"
            " JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid"
            " WHERE parent.relname = ANY(%s) AND pg_table_is_visible(parent.oid) AND NOT inhdetachpending"
            " ORDER BY child.relname",
            [list(TABLES)],
        )
        return [Partition(table, name, _starts(name), size, rows) for table, name, size, rows in cursor.fetchall()]


def _starts(name: str) -> datetime:
    match = _NAME.match(name)
    if match is None:
        raise ValueError(f"{name} is not the name of a weekly partition")
    return datetime.fromisocalendar(int(match["year"]), int(match["week"]), 1).replace(tzinfo=UTC)


def ensure(since: datetime, until: datetime) -> list[str]:
    """Make what is missing for the weeks from `since` to `until`; the names of what was made."""
    have = {partition.name for partition in existing()}
    wanted = [(table, monday) for monday in _weeks(since, until) for table in TABLES]
    return [name_of(t, m) for t, m in wanted if name_of(t, m) not in have and _create(t, m)]


def ensure_ahead() -> list[str]:
    """This week, the week before (late clocks) and the configured number of weeks ahead."""
    now = datetime.now(UTC)
    return ensure(now - WEEK, now + settings.PARTITION_WEEKS_AHEAD * WEEK)


def weeks_ahead() -> int:
    """For how many whole weeks after this one every table is ready."""
    have = {partition.name for partition in existing()}
    ahead = 0
    monday = week_start(datetime.now(UTC)) + WEEK
    while all(name_of(table, monday) in have for table in TABLES):
        ahead, monday = ahead + 1, monday + WEEK
    return ahead


def with_repair(operation: Callable[[], Result]) -> Result:
    """Run a whole transaction; where it finds no partition for its rows, make this week's and run it once more."""
    try:
        return operation()
    except IntegrityError as error:
        if not isinstance(error.__cause__, errors.CheckViolation) or connection.in_atomic_block:
            raise
        log.warning("a partition was missing: %s", error)
        ensure_ahead()
        return operation()


def _weeks(since: datetime, until: datetime) -> Iterator[datetime]:
    monday = week_start(since)
    while monday <= until:
        yield monday
        monday += WEEK


def _create(table: str, monday: datetime) -> bool:
    """False where another process made it first."""
    name = name_of(table, monday)
    statement = sql.SQL(
        # one after the other: two that make the same table at once would trip over the catalogue
        "SELECT pg_advisory_xact_lock(hashtext('postroom partitions'));"
        "CREATE TABLE {name} (LIKE {table} INCLUDING ALL) WITH (fillfactor = {fill});"
        "ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})"
    ).format(
        name=sql.Identifier(name),
        table=sql.Identifier(table),
        # room on the page for the updates of a message's life, so that no index has to follow them
        fill=sql.Literal(70 if table in ("message", "attempt") else 100),
        low=sql.Literal(ids.floor(monday)),
        high=sql.Literal(ids.floor(monday + WEEK)),
    )
    try:
        _with_short_lock(statement)
    except ProgrammingError as error:
        if isinstance(error.__cause__, errors.DuplicateTable):
            return False
        raise
    log.debug("made partition %s", name)
    return True


def by_week() -> dict[datetime, dict[str, Partition]]:
    """week → table → its partition, oldest first."""
    found: dict[datetime, dict[str, Partition]] = {}
    for partition in sorted(existing(), key=lambda each: each.starts):
        found.setdefault(partition.starts, {})[partition.table] = partition
    return found


def drop(*partitions: Partition, tries: int | None = None) -> None:
    """Take partitions away without stopping readers or writers of the others. Not inside a transaction.

    Raises OperationalError where somebody reads one for longer than we try; a later `finish_drops` goes on from there.
    `tries`: of about two seconds each.
    """
    mark = sql.SQL("COMMENT ON TABLE {} IS {}")
    marks = [mark.format(sql.Identifier(each.name), sql.Literal(_MARK)) for each in partitions]
    if marks:
        _with_short_lock(sql.SQL(";").join(marks), tries, DROP_WAIT)
    finish_drops(tries)


def finish_drops(tries: int | None = None) -> list[str]:
    """End whatever was begun: detach what is marked, finalise a DETACH that was interrupted, and drop all of it in the
    end. Their names.

    A table has room for one pending DETACH, so these come first.
    """
    done: list[str] = []
    tries = tries or LOCK_TRIES
    for tried in range(1, tries + 1):
        try:
            while marked := _marked():
                name, parent, pending = marked[0]
                if parent is None:
                    _drop_at_once([name for name, *_ in marked])
                else:
                    _outside_transaction(_DETACH[pending].format(sql.Identifier(parent), sql.Identifier(name)))
                done += [name for name, *_ in marked]
            break
        except OperationalError as error:
            _wait_for_lock(error, tried, tries)
    return list(dict.fromkeys(done))


_DETACH = {  # by: it is begun
    False: sql.SQL("ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY"),
    True: sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE"),
}


def _marked() -> list[tuple[str, str | None, bool]]:
    """(name, parent, whether its DETACH is pending) of what is to be dropped: what is still attached comes first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT child.relname, parent.relname, coalesce(inhdetachpending, false) AS pending FROM pg_class child"
            " LEFT JOIN pg_inherits ON inhrelid = child.oid LEFT JOIN pg_class parent ON parent.oid = inhparent"
            " WHERE child.relkind = 'r' AND pg_table_is_visible(child.oid)"
            " AND (obj_description(child.oid, 'pg_class') = %s OR inhdetachpending AND parent.relname = ANY(%s))"
            " ORDER BY parent.relname IS NULL, pending DESC, child.relname",
            [_MARK, list(TABLES)],
        )
        return list(cursor.fetchall())


def _drop_at_once(names: Sequence[str]) -> None:
    """Each on a connection of its own: what takes long is the file system, where every connection frees one file after
    the other, on one core."""
    with ThreadPoolExecutor(DROPS_AT_ONCE) as threads:
        for _ in threads.map(_drop_table, names):
            pass


def _drop_table(name: str) -> None:
    try:
        # the hourly job may be at it, too
        _outside_transaction(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
    finally:
        connection.close()  # this thread's


def _with_short_lock(statement: sql.Composed, tries: int | None = None, wait: str = "1s") -> None:
    """Run DDL that soon gives up its place in the lock queue, and tries again."""
    tries = tries or LOCK_TRIES
    for tried in range(1, tries + 1):
        try:
            with transaction.atomic(durable=False), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{wait}'")
                cursor.execute(statement)
            return
        except OperationalError as error:
            _wait_for_lock(error, tried, tries)


def put_off(error: OperationalError) -> bool:
    """Whether a drop failed because somebody read for too long: it can be finished later."""
    return isinstance(error.__cause__, errors.LockNotAvailable)


def _wait_for_lock(error: OperationalError, tried: int, tries: int) -> None:
    if not put_off(error) or tried == tries:
        raise error
    time.sleep(0.2)


def _outside_transaction(statement: sql.Composed) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{DROP_WAIT}'")
        try:
            cursor.execute(statement)
        finally:
            cursor.execute("RESET lock_timeout")
    log.info("partitions: %s", statement.as_string())
