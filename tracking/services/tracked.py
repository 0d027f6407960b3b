"""Messages that others send and report on: taken in, moved on, given up. Called by tracker.

They are messages like all others: receipts find them, the rollups count them, the console shows them. What a report
says is a fact of an attempt, and `record` writes it; providers' receipts may still say otherwise afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from providers.base import FailureClass
from tracking import accounts, clock, ids, kmsg, news, partitions, store, wake
from tracking.kmsg import MessageStatus
from tracking.models import Message, Project, TrackedMessage
from tracking.parts import Price
from tracking.prepared import prepared
from tracking.rows import AttemptRow, MessageRow
from tracking.services import message_webhooks, outgoing
from tracking.services.record import Record, Source
from tracking.statuses import Decision, Fact, FactKind, Status, fold
from tracking.tracker_schema import Details, Wanted

LOOKED_THROUGH = 20_000  # messages, by one call of `with_status`
CHUNK = 500
CLEAN_UP_SECONDS = 10.0  # for one run of the job
SENT_BEFORE = timedelta(days=1)  # so long before its tracking began a message may have been handed over
SOURCE = "tracker"
_FIND = (
    "SELECT id FROM message WHERE external_id = %s AND external_id <> '' AND project_id = %s ORDER BY id DESC LIMIT 1"
)


class AlreadyTracked(ValueError):
    """There is a message of this id: it stays as it is."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where tracked messages belong."""

    project_id: int
    channel: str
    account_id: int


# --- taken in


def start(place: Place, wanted: Wanted, *, expires_at: datetime, keep: timedelta) -> UUID:
    """`keep`: how long what its webhooks were told stays. Raises AlreadyTracked, clock.ClockWrong."""
    clock.check()
    return partitions.with_repair(lambda: _start(place, wanted, expires_at, keep))


@transaction.atomic
def _start(place: Place, wanted: Wanted, expires_at: datetime, keep: timedelta) -> UUID:
    with prepared(), connection.cursor() as cursor:  # two processes at once: the second one sees the first one's
        name = f"tracked:{place.project_id}:{wanted.message_id}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
    if find(place.project_id, wanted.message_id) is not None:
        raise AlreadyTracked("message_id: a message of this id is there already")
    endpoints = message_webhooks.endpoints(place.project_id, wanted.webhooks, until=expires_at + keep)
    source, work = Source(SOURCE), Record([])
    row = _row(place, wanted)
    work.add_message(row, source=source)
    _begin(work, row, wanted, source)
    tracked = {"message_id": row.id, "project_id": place.project_id, "expires_at": expires_at}
    tracked["endpoints"] = list(dict.fromkeys(endpoints))
    kind = kmsg.event_type(kmsg.WORDS[row.status])
    told = outgoing.at_start(row, kind, _asking(wanted, endpoints, kind), work.now)
    content = store.contents({row.id: {"metadata": wanted.metadata} if wanted.metadata else {}})
    work.save(also=[content, store.tracked([tracked]), told])
    if told.rows:
        wake.after_commit(wake.PUBLISH)
    return row.id


def _begin(work: Record, row: MessageRow, wanted: Wanted, source: Source) -> None:
    """The status that it begins with, where that is not QUEUED; who knows the provider's id has handed it over."""
    status, reference = wanted.initial_status, wanted.provider_message_id
    if reference or status not in (MessageStatus.QUEUED, MessageStatus.CANCELLED):
        _report(work, row, status, Details(provider_message_id=reference), source)
    if status is MessageStatus.CANCELLED:
        work.decide(row, Decision.CANCEL, source=source)


def _row(place: Place, wanted: Wanted) -> MessageRow:
    row = MessageRow(
        id=ids.new(),
        project_id=place.project_id,
        channel=place.channel,
        recipient=wanted.phone_number,
        status=Status.PENDING,
        decision=Decision.FOLLOW,
        account_id=place.account_id,
        template_id=wanted.template_id,
        extra={"external_id": wanted.message_id},
    )
    row.take(fold([], row.decision, 0))
    return row


def _asking(wanted: Wanted, endpoints: Sequence[int], kind: str) -> list[int]:
    """The webhooks that want to hear of the status that it begins with."""
    asking = [key for key, webhook in zip(endpoints, wanted.webhooks, strict=True) if kind in webhook.events]
    return list(dict.fromkeys(asking))


# --- found


def find(project_id: int, message_id: str) -> UUID | None:
    """By the caller's own id, the newest; else by ours."""
    with prepared(), connection.cursor() as cursor:
        cursor.execute(_FIND, [message_id, project_id])
        row = cursor.fetchone()
    if row is not None:
        return UUID(str(row[0]))
    key = _uuid(message_id)
    there = key is not None and Message.objects.filter(pk=key, project_id=project_id).exists()
    return key if there else None


def _uuid(text: str) -> UUID | None:
    try:
        key = UUID(text) if len(text) in (32, 36) else None
    except ValueError:
        return None
    return key if key and ids.is_key(key) else None


def with_status(
    project_id: int, channel: str, status: MessageStatus, *, since: datetime, before: UUID | None, limit: int
) -> tuple[list[UUID], UUID | None]:
    """Those in this status made since then, newest first, and where to go on if there may be more. Looks through a
    bounded number of messages."""
    made = Message.objects.filter(project_id=project_id, pk__gte=ids.floor(since))
    if before is not None:
        made = made.filter(pk__lt=before)
    floor = made.order_by("-pk").values_list("pk", flat=True)[LOOKED_THROUGH : LOOKED_THROUGH + 1].first()
    words = [ours for ours, word in kmsg.WORDS.items() if word is status]
    stopped = TrackedMessage.objects.filter(pk=OuterRef("pk"), stopped_at__isnull=False)
    found = made.filter(~Exists(stopped), channel=channel, status__in=words)
    if floor is not None:
        found = found.filter(pk__gte=floor)
    keys = list(found.order_by("-pk").values_list("pk", flat=True)[: limit + 1])
    return (keys[:limit], keys[limit - 1]) if len(keys) > limit else (keys, floor)


# --- moved on


@transaction.atomic
def update(project_id: int, message_id: str, status: MessageStatus, details: Details) -> bool:
    """Whether the message has this status now, and had not before. Where it has not, nothing is recorded."""
    key = find(project_id, message_id)
    if key is None:
        return False
    work = Record([key])
    row = work.messages.get(key)
    if row is None or not kmsg.forward(kmsg.WORDS[row.status], status):
        return False
    if TrackedMessage.objects.filter(pk=key, stopped_at__isnull=False).exists():
        return False
    source = Source(SOURCE, detail=_said(details))
    done = _cancel if status is MessageStatus.CANCELLED else _report
    if not done(work, row, status, details, source):
        return False
    work.save()
    return True


def _said(details: Details) -> dict[str, Any]:
    said = {"source": details.source, "provider": details.provider, "metadata": details.metadata}
    error = details.error.details if details.error else None
    return {name: value for name, value in {**said, "error": error}.items() if value}


def _report(work: Record, row: MessageRow, status: MessageStatus, details: Details, source: Source) -> bool:
    """Facts that lead to the status, on the last attempt. False where they do not."""
    facts = _facts(status, details, work.now)
    if not row.tries:
        if not row.elsewhere:
            return False  # it waits to be sent by Postroom, which will know
        _hand_over(work, row, min([work.now, *(fact.at for fact in facts)]))
    attempt = row.tries[-1]
    if details.provider_message_id:
        attempt.reference = row.reference = details.provider_message_id
    for fact in facts:
        work.add_fact(row, attempt, fact, key=f"tracker:{attempt.number}:{fact.kind}", source=source)
    work.learn()
    work.fold(row)
    return kmsg.WORDS[row.status] is status


def _hand_over(work: Record, row: MessageRow, at: datetime) -> AttemptRow:
    """It was handed over elsewhere: an attempt without a key stands for that."""
    attempt = work.start_attempt(row, account_id=row.account_id or 0, idempotency_key="")
    attempt.started_at = max(at, ids.time_of(row.id) - SENT_BEFORE)
    attempt.finished_at = work.now
    if (bound := accounts.by_id(attempt.account_id)) is not None:
        attempt.price = Price(0, bound.account.price_per_part, bound.account.currency)
    return attempt


def _facts(status: MessageStatus, details: Details, now: datetime) -> list[Fact]:
    facts = [Fact(FactKind.ACCEPTED, details.sent_at)] if details.sent_at else []
    if status is MessageStatus.SENT and not facts:
        facts.append(Fact(FactKind.ACCEPTED, now))
    if details.delivered_at or status is MessageStatus.DELIVERED:
        facts.append(Fact(FactKind.DELIVERED, details.delivered_at or now))
    if status is MessageStatus.CLICKED:
        facts.append(Fact(FactKind.CLICKED, details.clicked_at or now))
    if status in (MessageStatus.FAILED, MessageStatus.CANCELLED):
        code, text = (details.error.code, details.error.message) if details.error else (str(status), "")
        facts.append(Fact(FactKind.FAILED, details.failed_at or now, FailureClass.PERMANENT, code=code, text=text))
    return facts


def _cancel(work: Record, row: MessageRow, status: MessageStatus, details: Details, source: Source) -> bool:
    """What Postroom itself sends can be cancelled while it waits; of what others send they know best."""
    if not row.elsewhere and not store.take_from_queue([row.id]):
        return False
    if row.elsewhere and row.tries:
        _report(work, row, status, details, source)
    work.decide(row, Decision.CANCEL, source=source)
    return kmsg.WORDS[row.status] is status


# --- given up


@transaction.atomic
def stop(project_id: int, message_id: str, *, expires_at: datetime) -> UUID | None:
    """Nobody is told of it any more. The message, its receipts and the numbers go on. None where it is not tracked."""
    key = find(project_id, message_id)
    if key is None:
        return None
    work = Record([key])
    row = work.messages.get(key)
    values = {"project_id": project_id, "expires_at": expires_at}
    tracked, _ = TrackedMessage.objects.get_or_create(pk=key, defaults=values)
    if row is None or tracked.stopped_at is not None:
        return None
    TrackedMessage.objects.filter(pk=key).update(stopped_at=work.now, endpoints=[])
    work.note(row, key="tracking:stopped", source=Source(SOURCE), text="it is tracked no more")
    work.save()
    news.after_commit([news.News(news.STOPPED, project_id, key)])
    return key


def clean_up(project_id: int, batch: int) -> int:
    """End the tracking whose time is over; how much that was. What nobody reported on until now has failed (expired)
    where it was not even handed over, and is unknown where it was."""
    gone = 0
    while keys := _expired(project_id, batch):
        gone += _end(keys)
    message_webhooks.prune(datetime.now(UTC))
    return gone


def clean_up_all() -> int:
    """As `clean_up`, of every project: for the prune job, since nobody may have a tracker. A bounded time each run."""
    until, gone = time.monotonic() + CLEAN_UP_SECONDS, 0
    for project_id in Project.objects.values_list("pk", flat=True):
        while time.monotonic() < until and (keys := _expired(project_id, CHUNK)):
            gone += _end(keys)
    message_webhooks.prune(datetime.now(UTC))
    return gone


def _expired(project_id: int, batch: int) -> list[UUID]:
    expired = TrackedMessage.objects.filter(project_id=project_id, stopped_at=None, expires_at__lte=datetime.now(UTC))
    return list(expired.order_by("expires_at").values_list("pk", flat=True)[:batch])


@transaction.atomic
def _end(keys: Sequence[UUID]) -> int:
    work, source = Record(keys), Source(SOURCE, detail={"source": "system"})
    for row in work.messages.values():
        if not row.elsewhere:
            continue
        if row.status is Status.PENDING:
            work.decide(row, Decision.EXPIRE, source=source, text="nobody reported on it in its time")
        elif row.status is Status.PROCESSING:
            unknown = Fact(FactKind.OUTCOME_UNKNOWN, work.now, code="TRACKING_TIMEOUT")
            work.add_fact(row, row.tries[-1], unknown, key="tracker:timeout", source=source)
    work.save()
    return TrackedMessage.objects.filter(pk__in=keys, stopped_at=None).delete()[0]
