"""Erasure, everything beside messages and people: raw requests, receipts without a message, idempotency keys, webhooks
that are about no message, files of exports, tracking logs. Called by erase, inside its transaction.
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
from django.db.models import Q

from tracking.models import Delivery, Endpoint, Export, ExportFormat, ExportState, Grant, IdempotencyKey, Unmatched
from tracking.models.channel import RECIPIENT
from tracking.models.export import WORKING
from tracking.redact import Needle, document
from tracking.services import export_files, exports, push_log
from tracking.services.erase_target import FIRST, LAST, Done, Target, execute, rows

LOOKED_THROUGH = 2_000  # raw requests of one step
DELIVERIES = 10_000  # webhook deliveries of one step


def raw_requests(target: Target, place: UUID | None) -> Done:
    """Every raw request of the project's accounts that names them. What others' receipts say in it stays."""
    if not target.needle.like_raw:
        return Done()
    low = place or FIRST
    edges = rows(
        "SELECT id FROM inbound WHERE id > %s AND id < %s ORDER BY id OFFSET %s LIMIT 1",
        [low, target.end, LOOKED_THROUGH],
    )
    high = edges[0][0] if edges else None
    found = rows(
        "SELECT id, url, headers, body, error FROM inbound WHERE id > %s AND id <= %s AND account_id = ANY(%s) AND"
        " (lower(encode(body, 'escape')) LIKE ANY(%s) OR lower(url) LIKE ANY(%s) OR lower(headers::text) LIKE ANY(%s)"
        "  OR lower(error) LIKE ANY(%s))",
        [low, high or target.end, _accounts(target), target.needle.like_raw, *[target.needle.like] * 3],
    )
    return Done(high, {"inbound": sum(_redact(target.needle, *row) for row in found)})


def _accounts(target: Target) -> list[int]:
    return list(Grant.objects.filter(project_id=target.project_id).values_list("account_id", flat=True))


def _redact(needle: Needle, key: UUID, url: str, headers: Any, body: bytes, error: str) -> int:
    before = (url, document(headers), bytes(body), error)
    after = (needle.text(url), needle.json(before[1]), needle.raw(before[2]), needle.text(error)[:1000])
    if after == before:
        return 0
    return execute(
        "UPDATE inbound SET url = %s, headers = %s::jsonb, body = %s, error = %s WHERE id = %s",
        [after[0], orjson.dumps(after[1]).decode(), *after[2:], key],
    )


def unmatched(target: Target, place: UUID | None) -> Done:
    query = "SELECT id FROM tracking_unmatched WHERE account_id = ANY(%s) AND lower(receipt::text) LIKE ANY(%s)"
    changed = 0
    for (pk,) in rows(query, [_accounts(target), target.needle.like]):
        stray = Unmatched.objects.select_for_update().filter(pk=pk).first()
        if stray is not None and (receipt := target.needle.json(stray.receipt)) != stray.receipt:
            changed += Unmatched.objects.filter(pk=pk).update(receipt=receipt)
    return Done(counts={"unmatched": changed})


def idempotency_keys(target: Target, place: UUID | None) -> Done:
    """A key that its sender made of one goes; answers hold no recipient, but may hold an id that was made of one."""
    query = (
        "SELECT id, key, response FROM tracking_idempotencykey"
        " WHERE project_id = %s AND (lower(key) LIKE ANY(%s) OR lower(response) LIKE ANY(%s))"
    )
    changed = 0
    for pk, key, response in rows(query, [target.project_id, *[target.needle.like] * 2]):
        kept = IdempotencyKey.objects.filter(pk=pk)
        if target.needle.inside(key) != key:
            changed += kept.delete()[0]
        elif (answer := target.needle.inside(response)) != response:
            changed += kept.update(response=answer)
    return Done(counts={"idempotency_key": changed})


def announcements(target: Target, place: UUID | None) -> Done:
    """Webhooks about exports, which say what was looked for. Of all times, as exports."""
    low = place or FIRST
    edges = rows("SELECT id FROM webhook_delivery WHERE id > %s ORDER BY id OFFSET %s LIMIT 1", [low, DELIVERIES])
    high = edges[0][0] if edges else None
    found = rows(
        "SELECT id, payload FROM webhook_delivery WHERE id > %s AND id <= %s AND message_id IS NULL"
        " AND endpoint_id = ANY(%s) AND lower(payload::text) LIKE ANY(%s)",
        [low, high or LAST, _endpoints(target), target.needle.like],
    )
    changed = 0
    for key, payload in found:
        before = document(payload)
        if (after := target.needle.ids(before)) != before:
            changed += Delivery.objects.filter(pk=key).update(payload=after)
    return Done(high, {"webhook_delivery": changed})


def _endpoints(target: Target) -> list[int]:
    return list(Endpoint.objects.filter(project_id=target.project_id).values_list("pk", flat=True))


def message_webhooks(target: Target, place: UUID | None) -> Done:
    """Webhooks that single messages named: an address that was made for the recipient is closed, with what was still to
    be told there. Those of the project are its configuration."""
    query = "SELECT id, url FROM webhook_endpoint WHERE project_id = %s AND digest <> '' AND lower(url) LIKE ANY(%s)"
    closed = {"active": False, "deleted_at": datetime.now(UTC), "sealed": ""}
    changed = 0
    for pk, before in rows(query, [target.project_id, target.needle.like]):
        if (url := target.needle.inside(before)[:2000]) != before:
            changed += Endpoint.objects.filter(pk=pk).update(url=url, **closed)
    return Done(counts={"webhook_endpoint": changed})


def push_logs(target: Target, place: UUID | None) -> Done:
    """They hold what was pushed to whom, compressed; whoever wants one asks for it anew."""
    return Done(counts={"push_log": push_log.forget(target.project_id)})


# --- files


def exported(target: Target, place: UUID | None) -> Done:
    """Files that may hold them: ours are removed, for they can be made again; an archive is written anew without the
    lines about them; one that is being written is stopped. One export a step, also those that were asked for while the
    messages were still being erased. Locked: a chunk that is just being written ends first."""
    mine = Q(project_id=target.project_id) | Q(project=None)
    found = Export.objects.select_for_update().filter(mine, pk__gt=place or FIRST)
    export = found.order_by("pk").first()
    if export is None:
        return Done()
    named = {"filters": target.needle.ids(export.filters), "query": target.needle.inside(export.query)}
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
    export_files.remove(export)
    return Export.objects.filter(pk=export.pk).update(
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
        if (row := _line(needle, orjson.loads(line))) is None:
            yield None
        else:
            yield orjson.dumps(row).decode() + "\n"


def _csv_lines(source: Iterable[str], needle: Needle) -> Iterator[str | None]:
    lines = csv.reader(source)
    head = next(lines, [])
    yield _csv_line(head)
    for cells in lines:
        row = _line(needle, dict(zip(head, cells, strict=True)))
        yield None if row is None else _csv_line([*row.values()])


def _line(needle: Needle, row: dict[str, Any]) -> dict[str, Any] | None:
    """None: it is about them."""
    if needle.is_it((row.get("recipient") or "").removeprefix("'")):
        return None
    return {name: _cell(needle, name, value) for name, value in row.items()}


def _cell(needle: Needle, name: str, value: Any) -> Any:
    """Ids, tags and a channel's key may be made of the address."""
    of_channel = name == "recipient" and RECIPIENT in value
    if not of_channel and name not in ("external_id", "provider_message_id", "tags"):
        return needle.json(value)
    return [needle.inside(each) for each in value] if isinstance(value, list) else value and needle.inside(value)


def _csv_line(row: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()
