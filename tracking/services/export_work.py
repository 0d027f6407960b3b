"""Writes exports, in slices. Called by the task.

One process at a time works on all exports that are not finished, a chunk of each in turn: it holds an advisory lock,
which ends with it. A chunk is one short transaction; its rows are on the disk before the row of the export says how
far it has come. So whatever kills the process, the next one goes on after the last chunk.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import psycopg
from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet

from providers.models import ProviderAccount
from tracking import export_columns
from tracking.alone import alone
from tracking.models import EventType, Export, ExportFormat, ExportState, Message, Project
from tracking.models.export import WORKING
from tracking.selection import Filters, Selection
from tracking.services import export_files, exports, outgoing

log = logging.getLogger(__name__)
_LOCK = (7102, 0)
MAX_FAULTS = 5  # failures in a row, of which each waits twice as long as the one before
FIRST_DELAY = timedelta(seconds=5)
STATEMENT_SECONDS = 30  # one chunk: longer, and something is wrong


def work(*, seconds: float) -> bool:
    """Work on whatever is not finished for a while. False where another process does."""
    with alone(_LOCK) as mine:
        if not mine:
            return False
        until = time.monotonic() + seconds
        while found := _due():
            for key in found:
                _try_step(key)
                if time.monotonic() >= until:
                    return True
        return True


def anything_to_do() -> bool:
    return bool(_due())


def _due() -> list[UUID]:
    now = datetime.now(UTC)
    working = Export.objects.filter(Q(due_at=None) | Q(due_at__lte=now), state__in=WORKING)
    return list(working.order_by("pk").values_list("pk", flat=True))


def _try_step(key: UUID) -> None:
    try:
        with transaction.atomic():
            export = Export.objects.select_for_update(of=("self",)).select_related("project").filter(pk=key).first()
            if export is not None and not export.finished:
                _step(export)
    except TooLarge as error:
        _fail(key, str(error), final=True)
    except OSError as error:
        log.warning("export %s could not be written: %s", key, error)
        _fail(key, f"The file could not be written: {error.strerror or error}.")
    except DatabaseError as error:
        log.warning("export %s: the database refused a chunk: %s", key, type(error).__name__)
        _fail(key, f"The database refused a part of it ({type(error).__name__}).")


class TooLarge(Exception):
    """The file is larger than the installation allows."""


# --- one chunk


def _step(export: Export) -> None:
    """The next messages, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL DateStyle = 'ISO'; SET LOCAL TimeZone = 'UTC'")
        cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
    if export.whole:
        _complete(export)
        return
    selection = Selection(Filters.model_validate(export.filters))
    if export.state == ExportState.PENDING:
        _begin(export, selection)
    step = selection.step(export.place)
    export.rows += _write(export, step.rows)
    export.worked_at, export.faults, export.due_at = datetime.now(UTC), 0, None
    if export.bytes > settings.EXPORT_MAX_GB * 2**30:
        raise TooLarge(f"The file is larger than {settings.EXPORT_MAX_GB} GB: choose a shorter period or gzip.")
    export.whole, export.place = step.edge is None, step.edge or export.place
    export.save()


def _begin(export: Export, selection: Selection) -> None:
    export.state = ExportState.PROCESSING
    export.estimate = estimate(selection)
    if not export.bytes:
        head = [export_columns.header(export.columns)] if export.format == ExportFormat.CSV else []
        export.bytes = export_files.append(export, head)


def estimate(selection: Selection) -> int:
    """PostgreSQL's, of its last ANALYZE: to count would be to read all of them."""
    rows, others = selection.within(Message.objects.all())
    for other in others:
        rows = other(rows, None, None)
    try:
        plan = orjson.loads(rows.order_by().values("pk").explain(format="json"))
    except EmptyResultSet:
        return 0
    return int(plan[0]["Plan"]["Plan Rows"])


def _write(export: Export, rows: QuerySet[Message]) -> int:
    """How many. PostgreSQL writes the lines; they pass through here one by one."""
    try:
        select, params = rows.values_list(*export_columns.FIELDS).query.sql_with_params()
    except EmptyResultSet:
        return 0
    make = export_columns.copy_csv if export.format == ExportFormat.CSV else export_columns.copy_jsonl
    with connection.cursor() as cursor:
        plain = psycopg.ClientCursor(connection.connection)
        statement = make(export.columns, plain.mogrify(select, params), plain.mogrify(*_codes()))
        with cursor.copy(statement) as copy:
            export.bytes = export_files.append(export, copy)
        return int(cursor.rowcount)


def _codes() -> tuple[str, list[str]]:
    tables = (Project.objects.values_list("pk", "code"), ProviderAccount.objects.values_list("pk", "code"))
    maps = [orjson.dumps({str(key): code for key, code in rows}).decode() for rows in tables]
    return "SELECT %s::jsonb AS projects, %s::jsonb AS accounts", maps


# --- the end


def _complete(export: Export) -> None:
    """A step of its own, which may be repeated: the file has got its name before the row says that it is complete."""
    export.sha256 = export_files.publish(export)
    now = datetime.now(UTC)
    export.state, export.finished_at, export.expires_at = ExportState.COMPLETED, now, exports.keep_until(export, now)
    if export.project_id is not None and not export.directory:
        outgoing.announce(
            project_id=export.project_id,
            event=EventType.EXPORT_COMPLETE,
            data=exports.shape(export),
            now=now,
            also=export.endpoint_id,
        )
    export.save()


def _fail(key: UUID, why: str, *, final: bool = False) -> None:
    """Try again later, unless that has happened too often."""
    with transaction.atomic():
        export = Export.objects.select_for_update().filter(pk=key, state__in=WORKING).first()
        if export is None:
            return
        now = datetime.now(UTC)
        export.faults += 1
        export.fault = why[:300]
        export.worked_at, export.due_at = now, now + FIRST_DELAY * 2**export.faults
        if final or export.faults >= MAX_FAULTS:
            export.state, export.finished_at, export.due_at = ExportState.FAILED, now, None
            export.expires_at = exports.keep_until(export, now)
        export.save()
