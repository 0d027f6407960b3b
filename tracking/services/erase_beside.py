"""Erasure, everything beside messages: raw requests, receipts without a message, idempotency keys, the suppression
list, files of exports. Called by erase, inside its transaction.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import Q

from tracking.models import Export, ExportFormat, ExportState, Grant, IdempotencyKey, Suppression, Unmatched
from tracking.models.export import WORKING
from tracking.redact import ERASED, Needle, document
from tracking.services import export_files, exports
from tracking.services.erase_messages import Done, Target

LOOKED_THROUGH = 2_000  # raw requests of one step
_FIRST = UUID(int=0)


def raw_requests(target: Target, place: UUID | None) -> Done:
    """Every raw request of the project's accounts that names them. What others' receipts say in it stays."""
    if not target.needle.like_raw:
        return Done()
    low = place or _FIRST
    edges = _rows(
        "SELECT id FROM inbound WHERE id > %s AND id < %s ORDER BY id OFFSET %s LIMIT 1",
        [low, target.end, LOOKED_THROUGH],
    )
    high = edges[0][0] if edges else None
    found = _rows(
        "SELECT id, url, headers, body FROM inbound WHERE id > %s AND id <= %s AND account_id = ANY(%s) AND"
        " (lower(encode(body, 'escape')) LIKE ANY(%s) OR lower(url) LIKE ANY(%s) OR lower(headers::text) LIKE ANY(%s))",
        [low, high or target.end, _accounts(target), target.needle.like_raw, *[target.needle.like] * 2],
    )
    return Done(high, {"inbound": sum(_redact(target.needle, *row) for row in found)})


def _accounts(target: Target) -> list[int]:
    return list(Grant.objects.filter(project_id=target.project_id).values_list("account_id", flat=True))


def _redact(needle: Needle, key: UUID, url: str, headers: Any, body: bytes) -> int:
    known = document(headers)
    before = (url, known, bytes(body))
    after = (needle.text(url), needle.json(known), needle.raw(bytes(body)))
    if after == before:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE inbound SET url = %s, headers = %s::jsonb, body = %s WHERE id = %s",
            [after[0], orjson.dumps(after[1]).decode(), after[2], key],
        )
    return 1


def unmatched(target: Target, place: UUID | None) -> Done:
    query = "SELECT id FROM tracking_unmatched WHERE account_id = ANY(%s) AND lower(receipt::text) LIKE ANY(%s)"
    changed = 0
    for (pk,) in _rows(query, [_accounts(target), target.needle.like]):
        stray = Unmatched.objects.select_for_update().filter(pk=pk).first()
        if stray is not None and (receipt := target.needle.json(stray.receipt)) != stray.receipt:
            changed += Unmatched.objects.filter(pk=pk).update(receipt=receipt)
    return Done(counts={"unmatched": changed})


def idempotency_keys(target: Target, place: UUID | None) -> Done:
    """Answers hold no recipient; a key that its sender made of one goes."""
    query = "SELECT id, key FROM tracking_idempotencykey WHERE project_id = %s AND lower(key) LIKE ANY(%s)"
    found = _rows(query, [target.project_id, target.needle.like])
    keys = [pk for pk, key in found if target.needle.inside(key) != key]
    return Done(counts={"idempotency_key": IdempotencyKey.objects.filter(pk__in=keys).delete()[0]})


def suppressions(target: Target, place: UUID | None) -> Done:
    """The entry stays, as a keyed hash: nothing is sent to them, though nobody can read who they are."""
    entry = Suppression.objects.filter(
        project_id=target.project_id, channel=target.erasure.channel, address_hash=target.erasure.address_hash
    )
    return Done(counts={"suppression": entry.exclude(address="", note="").update(address="", note="")})


# --- files


def exported(target: Target, place: UUID | None) -> Done:
    """Files that may hold them: ours are removed, for they can be made again; an archive is written anew without the
    lines about them; one that is being written is stopped. One export a step."""
    mine = Q(project_id=target.project_id) | Q(project=None)
    export = Export.objects.filter(mine, pk__gt=place or _FIRST, pk__lt=target.end).order_by("pk").first()
    if export is None:
        return Done()
    named = {"filters": target.needle.json(export.filters), "query": target.needle.text(export.query)}
    Export.objects.filter(pk=export.pk).update(**named)
    if export.state in WORKING:
        return Done(export.pk, {"export": _stop(export)})
    if export.directory:
        return Done(export.pk, {"archived_line": _rewrite(target.needle, export)})
    if export.state != ExportState.EXPIRED:
        exports.expire(export.pk)
        return Done(export.pk, {"export": 1})
    return Done(export.pk)


def _stop(export: Export) -> int:
    working = Export.objects.select_for_update().filter(pk=export.pk, state__in=WORKING)
    export_files.remove(export)
    return working.update(
        state=ExportState.FAILED,
        fault="Stopped by an erasure: try it again.",
        **{"bytes": 0, "rows": 0, "place": None, "whole": False, "finished_at": datetime.now(UTC)},
    )


def _rewrite(needle: Needle, export: Export) -> int:
    """How many lines went. The new file is whole before it takes the old one's name."""
    path = export_files.path_of(export)
    if not path.exists():
        return 0
    draft = path.with_name(f".{path.name}.erasing")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with _reading(path, export) as source, os.fdopen(descriptor, "wb") as file:
        gone = _copy(needle, export, source, gzip.GzipFile(fileobj=file, mode="wb") if export.gzip else file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    with path.open("rb") as whole:
        digest = file_digest(whole, "sha256").hexdigest()
    rows = max(0, export.rows - gone)
    Export.objects.filter(pk=export.pk).update(rows=rows, bytes=path.stat().st_size, sha256=digest)
    return gone


def _reading(path: Path, export: Export) -> IO[str]:
    return (
        gzip.open(path, "rt", encoding="utf-8", newline="") if export.gzip else path.open(encoding="utf-8", newline="")
    )


def _copy(needle: Needle, export: Export, source: Iterable[str], into: Any) -> int:
    before, kept = 0, 0
    lines = _csv_lines(source, needle) if export.format == ExportFormat.CSV else _json_lines(source, needle)
    for line in lines:
        before += 1
        if line is not None:
            kept += 1
            into.write(line.encode())
    if export.gzip:
        into.close()
    return before - kept


def _json_lines(source: Iterable[str], needle: Needle) -> Iterator[str | None]:
    for line in source:
        row = orjson.loads(line)
        yield (
            None
            if needle.text(row.get("recipient") or "") == ERASED
            else orjson.dumps(needle.json(row)).decode() + "\n"
        )


def _csv_lines(source: Iterable[str], needle: Needle) -> Iterator[str | None]:
    rows = csv.reader(source)
    head = next(rows, [])
    yield _csv_line(head)
    at = head.index("recipient") if "recipient" in head else None
    for row in rows:
        named = at is not None and needle.text(row[at].removeprefix("'")) == ERASED
        yield None if named else _csv_line([needle.text(cell) for cell in row])


def _csv_line(row: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()


def _rows(query: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return list(cursor.fetchall())
