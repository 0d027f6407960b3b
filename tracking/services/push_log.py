"""Tracking logs for Pushwoosh's clients: asked for, made piece by piece by a task, read as a ZIP, gone after a day.

Called by the API and the tasks. A piece is one short transaction and one row, so that a log of any size takes little
memory, goes on after a crash where it was, and can be read on any machine. One process at a time works on all logs that
are not done, a piece of each in turn: however many days are asked for, the other workers are free. What a log holds is
in its pieces alone: `forget` removes them with their log.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.db import transaction
from django.db.models import F, Func, IntegerField, Q, TextField
from django.db.models.functions import Cast

from providers.base import Channel
from tracking import ids, push_log
from tracking.alone import alone
from tracking.away import AWAY
from tracking.models import Attempt, Content, Device, Event, LogState, Message, PushLog, PushLogPart, PushwooshSettings
from tracking.push_log import Happened, Pushed
from tracking.pushwoosh_schema import MAX_BYTES
from tracking.schema import MAX_AHEAD, FieldError, Invalid
from tracking.services.pushwoosh import META

_logger = logging.getLogger(__name__)

TASK = "tracking.tasks.push_log_slice"
LOOKED_BACK = MAX_AHEAD + timedelta(days=7)  # a day's log has what happened on it to messages no older than this
KEPT = timedelta(hours=24)
FIRST_DAY = date(2020, 1, 1)  # before anything that can be on record
CHUNK = 500  # messages in one transaction
LARGE = 1_000_000  # lines; the file may then pass the 2 GiB of a simple ZIP
_DAY = timedelta(days=1)
_LOCK = (7103, 0)
_FILE_TOKEN = re.compile(r"[\w-]{43}", re.ASCII)


class Unknown(Exception):
    """No such request of this project, or its log has expired."""


def ask(project_id: int, day: date | None) -> tuple[PushLog, bool]:
    """A new log, or the one of that day that is being made already; and whether it is new. Without a day: today's, as
    far as it is.

    Raises Invalid.
    """
    today = datetime.now(UTC).date()
    wanted = day or today
    if not FIRST_DAY <= wanted <= today:
        raise Invalid([FieldError("/date", f"must be a day from {FIRST_DAY} to today, in UTC")])
    found = PushLog.objects.filter(project_id=project_id, day=wanted, state=LogState.WORKING).first()
    if found is not None:
        return found, False
    now = datetime.now(UTC)
    made = PushLog.objects.create(
        project_id=project_id,
        request_id=secrets.token_hex(16),
        file_token=secrets.token_urlsafe(32),
        day=wanted,
        after=ids.floor(_begin(wanted) - LOOKED_BACK),
        worked_at=now,
        expires_at=now + KEPT,
    )
    return made, True


def find(project_id: int, request_id: str) -> PushLog:
    """Raises Unknown."""
    now = datetime.now(UTC)
    found = PushLog.objects.filter(request_id=request_id, project_id=project_id, expires_at__gt=now).first()
    if found is None:
        raise Unknown
    return found


def _begin(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# --- made, by a task


def work(*, seconds: float) -> bool:
    """Go on with the logs for so long. Whether something is left to do, which another process does not do already."""
    until, broken = time.monotonic() + seconds, set[int]()
    with alone(_LOCK) as mine:
        if not mine:
            return False
        while keys := _working() - broken:
            for key in sorted(keys):
                if time.monotonic() >= until:
                    return True
                if not _try_piece(key):
                    broken.add(key)
    return bool(_working() - broken)  # asked again without the lock: whoever came meanwhile has left


def _working() -> set[int]:
    return set(PushLog.objects.filter(state=LogState.WORKING).values_list("pk", flat=True))


def anything_to_do() -> bool:
    return bool(_working())


def _try_piece(key: int) -> bool:
    """False: this log cannot be made now, and stops no other."""
    try:
        _piece(key)
    except AWAY:
        raise
    except Exception:
        _logger.exception("the tracking log %d cannot go on", key)
        return False
    return True


def _piece(log_id: int) -> None:
    with transaction.atomic():
        log = PushLog.objects.select_for_update(skip_locked=True).filter(pk=log_id, state=LogState.WORKING).first()
        if log is None:  # removed, or about to be
            return
        end = ids.floor(_begin(log.day) + _DAY)
        found = list(
            Message.objects.filter(project_id=log.project_id, pk__gt=log.after, pk__lt=end)
            .order_by("pk")
            .values_list("pk", "channel", "recipient", "external_id")[:CHUNK]
        )
        lines = _lines(log, [(key, to, code) for key, channel, to, code in found if channel == Channel.PUSH])
        if lines:
            packed = zlib.compress("".join(lines).encode())
            PushLogPart.objects.create(log_id=log.pk, number=log.parts, lines=packed)
            log.parts += 1
            log.rows += len(lines)
        log.worked_at = datetime.now(UTC)
        if found:
            log.after = found[-1][0]
        if len(found) < CHUNK:
            log.state, log.expires_at = LogState.DONE, log.worked_at + KEPT
        log.save()


def _lines(log: PushLog, messages: Sequence[tuple[UUID, str, str]]) -> list[str]:
    if not messages:
        return []
    since = _begin(log.day)
    keys = [key for key, *_ in messages]
    happened = _happened(keys, since, since + _DAY)
    messages = [message for message in messages if message[0] in happened]
    bodies = _bodies(list(happened))
    hwids = _hwids(log.project_id, [to for key, to, _ in messages if not _ours(bodies.get(key, {}))])
    settings = PushwooshSettings.objects.filter(project_id=log.project_id)
    application = settings.values_list("application", flat=True).first() or ""
    found: list[str] = []
    for key, recipient, code in messages:
        body = bodies.get(key, {})
        meta = _ours(body)
        pushed = Pushed(
            code or str(key),
            push_log.target_of(meta, recipient),
            str(meta.get("hwid") or hwids.get(recipient, "")),
            application,
            push_log.payload(body, meta),
        )
        found += push_log.lines(pushed, happened[key], since, since + _DAY)
    return found


def _happened(keys: Sequence[UUID], since: datetime, until: datetime) -> dict[UUID, list[Happened]]:
    """What happened to each on that day, and which of their attempts are followed by another, whenever. Of a message
    with a fallback, what happened to the push: the other legs went elsewhere."""
    among, found = {"message_id__in": keys, "message_id__range": (keys[0], keys[-1])}, defaultdict(list)
    elsewhere = set(Attempt.objects.filter(leg__gt=0, **among).values_list("message_id", "number"))
    on_the_day = Q(occurred_at__gte=since, occurred_at__lt=until, kind__in=push_log.WORDS)
    events = Event.objects.filter(on_the_day | Q(kind__in=push_log.AGAIN), **among).values_list(
        *("message_id", "occurred_at", "kind", "attempt", "number", "machine", "failure", "bounce", "code", "text")
    )
    for key, at, kind, attempt, number, machine, failure, bounce, code, text in events:
        if number is None and (key, attempt) in elsewhere:
            continue
        found[key].append(Happened(at, kind, attempt or 0, number, machine, failure or bounce or "", code, text))
    attempts = Attempt.objects.filter(started_at__gte=since, started_at__lt=until, leg=0, **among)
    for key, at, number in attempts.values_list("message_id", "started_at", "number"):
        found[key].append(Happened(at, "", number))
    return found


def _bodies(keys: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Their content where it is there and of a size that can be pushed."""
    size = Func(Cast(F("body"), TextField()), function="octet_length", output_field=IntegerField())
    found = Content.objects.filter(pk__in=keys).annotate(size=size).filter(size__lte=MAX_BYTES * 2)
    return dict(found.values_list("pk", "body"))


def _ours(body: dict[str, Any]) -> dict[str, Any]:
    """What createMessage noted; whoever uses the native API may have put anything there."""
    noted = body.get("metadata", {}).get(META)
    return noted if isinstance(noted, dict) else {}


def _hwids(project_id: int, tokens: Collection[str]) -> dict[str, str]:
    return dict(Device.objects.filter(project_id=project_id, token__in=tokens).values_list("token", "hwid"))


# --- read


def readable(file_token: str) -> PushLog | None:
    """The finished log whose file has this address, for whoever knows it."""
    if not _FILE_TOKEN.fullmatch(file_token):  # a NUL would be an error of the database
        return None
    now = datetime.now(UTC)
    return PushLog.objects.filter(file_token=file_token, state=LogState.DONE, expires_at__gt=now).first()


class _Sink:
    """A file that is only written to, and emptied as it fills."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back anyway."""

    def close(self) -> None:
        """There is nothing to close."""

    def take(self) -> bytes:
        held, self._held = b"".join(self._held), []
        return held


def stream(log: PushLog) -> Iterator[bytes]:
    """The ZIP, piece by piece. Ends with an error where the log is removed meanwhile: half a file looks like none."""
    sink = _Sink()
    entry = ZipInfo(f"tracking_log_{log.day}.csv", log.created_at.timetuple()[:6])
    entry.compress_type = ZIP_DEFLATED
    with ZipFile(sink, "w") as archive:
        with archive.open(entry, "w", force_zip64=log.rows > LARGE) as file:
            file.write(push_log.HEADER.encode())
            for number in range(log.parts):
                part = PushLogPart.objects.get(log_id=log.pk, number=number)
                file.write(zlib.decompress(part.lines))
                yield sink.take()
        yield sink.take()
    yield sink.take()


# --- removed


def prune() -> int:
    """Logs that have expired, with their pieces."""
    return PushLog.objects.filter(expires_at__lt=datetime.now(UTC)).delete()[1].get("tracking.PushLog", 0)


def forget(project_id: int) -> int:
    """All logs of a project: they hold recipients and what was sent to them. A client asks for a new one."""
    return PushLog.objects.filter(project_id=project_id).delete()[1].get("tracking.PushLog", 0)
