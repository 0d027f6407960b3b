"""Takes messages in: validate, route, check the suppression list, and write everything in one transaction.

Called by the API and by DeliveryTracker. What is returned is committed; whatever is raised has stored nothing. The
number of statements does not depend on the number of messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction

from tracking import clock, ids, partitions, parts, problem, schema, store, wake
from tracking.models import Batch
from tracking.rows import Leg, MessageRow
from tracking.schema import FieldError, Invalid, Notification
from tracking.services import consents, legs, route
from tracking.services.consents import Asked
from tracking.services.idempotency import Answer, Key, Overtaken
from tracking.services.record import Record, Source
from tracking.services.route import NoRoute, Route
from tracking.shape import new_message
from tracking.statuses import Decision, Fact, FactKind, Status

MAX_STORED = 64 * 1024 * 1024  # bytes of content that one request may turn into
VALUE = 20  # bytes that one more value in a list or an object costs as jsonb, beside its text


@dataclass(frozen=True, slots=True)
class Sender:
    """On whose behalf messages are taken in."""

    project_id: int
    default_region: str
    source: Source
    counted: bool = False  # the parts and prices of its messages are kept


@dataclass(frozen=True, slots=True)
class Wanted:
    """A valid request and where it goes: by its own route, and by one for each leg behind it."""

    request: Notification
    route: Route
    body: dict[str, Any]
    fallback: tuple[Route, ...] = ()


def submit(sender: Sender, document: Any, *, key: Key | None = None) -> Answer:
    """One request: a message, or one for each of its recipients in one batch.

    Raises Invalid, idempotency.Reused, clock.ClockWrong.
    """

    def fresh() -> Answer:
        wanted = _wanted(sender, document)
        if wanted.request.recipients is None:
            return _write(sender, [wanted], key, lambda shapes, batch: shapes[0], batched=False)
        return _write(
            sender, [wanted], key, lambda shapes, batch: {"batch_id": batch, "notifications": shapes}, batched=True
        )

    return _once(key, fresh)


def submit_batch(sender: Sender, document: Any, *, key: Key | None = None) -> Answer:
    """Up to 1,000 requests, each with an answer of its own; those that are wrong do not stop the others.

    Raises Invalid where the envelope is wrong or no item is right, idempotency.Reused, clock.ClockWrong.
    """

    def fresh() -> Answer:
        right: dict[int, Wanted] = {}
        wrong: dict[int, Invalid] = {}
        for index, item in enumerate(schema.envelope(document)):
            try:
                right[index] = _wanted(sender, item, single=True)
            except Invalid as invalid:
                wrong[index] = invalid
        if not right:
            raise Invalid(_inside_batch(wrong))
        return _write(
            sender, list(right.values()), key, lambda shapes, batch: _items(right, wrong, shapes, batch), batched=True
        )

    return _once(key, fresh)


def _once(key: Key | None, fresh: Callable[[], Answer]) -> Answer:
    if key is None:
        return fresh()
    answered = key.answered()
    if answered is not None:
        return answered
    try:
        return fresh()
    except Overtaken:
        answered = key.answered()
        if answered is None:
            raise
        return answered


def _wanted(sender: Sender, document: Any, *, single: bool = False) -> Wanted:
    kept = timedelta(days=settings.CONTENT_RETENTION_DAYS)
    request = schema.parse(document, region=sender.default_region, now=datetime.now(UTC), kept=kept, single=single)
    routed = _route(sender, "", request.channel, request.provider, sending=not request.followed)
    fallback = tuple(
        _route(sender, f"/fallback/{index}", leg.channel, leg.provider) for index, leg in enumerate(request.fallback)
    )
    body = request.body()
    copies = len(request.addresses)
    if copies > 1 and _stored(body) * copies > MAX_STORED:
        raise Invalid([FieldError("/recipients", "are too many for content of this size: 64 MiB in all are possible")])
    return Wanted(request, routed, body, fallback)


def _route(sender: Sender, pointer: str, channel: str, provider: str | None, *, sending: bool = True) -> Route:
    try:
        return route.choose(sender.project_id, channel, provider, sending=sending)
    except NoRoute as none:
        raise Invalid([FieldError(f"{pointer}/{none.field}", none.detail)]) from None


def _stored(body: dict[str, Any]) -> int:
    """About how many bytes PostgreSQL makes of it; commas stand for values, those inside of texts too."""
    text = orjson.dumps(body)
    return len(text) + VALUE * text.count(b",")


# --- write


def _write(
    sender: Sender,
    wanted: Sequence[Wanted],
    key: Key | None,
    answer: Callable[[list[dict[str, Any]], int | None], Answer],
    *,
    batched: bool,
) -> Answer:
    clock.check()
    # a single message is one statement, which is a transaction by itself: BEGIN and COMMIT would cost as much again
    several = batched or key is not None or any(item.request.followed or item.request.fallback for item in wanted)

    def transact() -> Answer:
        if not several:
            return answer(_message(sender, wanted[0]), None)
        with transaction.atomic():
            size = sum(len(item.request.addresses) for item in wanted)
            batch = Batch.objects.create(project_id=sender.project_id, size=size).pk if batched else None
            said = answer(_messages(sender, wanted, batch, _stopped(sender, wanted)), batch)
            if key is not None:
                key.keep(said)
        return said

    return partitions.with_repair(transact)


def _message(sender: Sender, item: Wanted) -> list[dict[str, Any]]:
    """One message: it is written, and its recipient looked for among those who are not sent to, in one statement."""
    (asked,) = _asked(item)
    try:
        return _messages(sender, [item], None, {}, unless=consents.stopping(sender.project_id, asked))
    except store.Unwritten:
        return _messages(sender, [item], None, _stopped(sender, [item]))


def _messages(
    sender: Sender,
    wanted: Sequence[Wanted],
    batch: int | None,
    stopped: Mapping[Asked, str],
    *,
    unless: store.Condition | None = None,
) -> list[dict[str, Any]]:
    """Write a message for each recipient; their shapes, in order. `stopped`: who is not sent to, and why."""
    work = Record([])
    bodies: dict[UUID, dict[str, Any]] = {}
    queue: list[dict[str, Any]] = []
    ways: list[dict[str, Any]] = []
    shapes = []
    for item in wanted:
        for recipient, asked in zip(item.request.addresses, _asked(item), strict=True):
            suppressed = asked in stopped and not item.request.followed
            row = _row(sender, item, recipient, batch, suppressed=suppressed)
            work.add_message(row, source=sender.source, text=stopped[asked] if suppressed else "")
            bodies[row.id] = item.body
            if item.request.followed:
                _follow(work, row, item, sender.source)
            elif not suppressed:
                queue.append(store.queue_row(row, max(item.request.scheduled_at or work.now, work.now)))
            elif row.fallbacks:
                legs.after_failure(work, [row], source=sender.source)
            if row.fallbacks or sender.counted:
                ways += _ways(row, item, work.now)
            shapes.append((row, item.route.code))
    work.save(also=[store.contents(bodies), store.queued(queue), store.legs(ways)], unless=unless)
    if any(row["due_at"] <= work.now for row in queue):
        wake.after_commit(wake.DISPATCH)
    return [new_message(row, code) for row, code in shapes]


def _asked(item: Wanted) -> list[Asked]:
    request = item.request
    return [Asked(request.channel, recipient, request.purpose) for recipient in request.addresses]


def _stopped(sender: Sender, wanted: Sequence[Wanted]) -> dict[Asked, str]:
    asked = {each for item in wanted if not item.request.followed for each in _asked(item)}
    return consents.stopped(sender.project_id, asked) if asked else {}


def _row(sender: Sender, item: Wanted, recipient: str, batch: int | None, *, suppressed: bool) -> MessageRow:
    request = item.request
    decision = Decision.FOLLOW if request.followed else Decision.SUPPRESS if suppressed else Decision.QUEUE
    row = MessageRow(
        id=ids.new(),
        project_id=sender.project_id,
        channel=request.channel,
        recipient=recipient,
        status=Status.PENDING,
        decision=decision,
        account_id=item.route.account_id,
        priority=request.priority,
        expires_at=request.expires_at,
        retry=request.retry.model_dump(mode="json", exclude_none=True) if request.retry else None,
        template_id=request.template_id,
        category=request.category,
        fallbacks=len(request.fallback),
        extra={
            "batch_id": batch,
            "external_id": request.external_id,
            "tags": request.tags,
            "scheduled_at": request.scheduled_at,
        },
    )
    if request.fallback:
        behind = enumerate(request.fallback, 1)
        row.legs = [Leg(0, row.channel, recipient, request.provider or "")]
        row.legs += [Leg(n, leg.channel, leg.recipient, leg.provider or "", leg.ttl) for n, leg in behind]
    row.take(row.folded())
    return row


def _ways(row: MessageRow, item: Wanted, now: datetime) -> list[dict[str, Any]]:
    """The legs as they are stored; the one behind that which is on its way is due when its ttl has passed."""
    begun = max(item.request.scheduled_at or now, now)
    contents = [item.body, *item.body.get("fallback", ())]
    found = []
    own = Leg(0, row.channel, row.recipient, item.request.provider or "")
    for leg, way, body in zip(row.legs or [own], (item.route, *item.fallback), contents, strict=True):
        waits = leg.ttl is not None and leg.number == row.leg + 1
        found.append(
            {
                **{"message_id": row.id, "project_id": row.project_id, **leg._asdict()},
                "kind": way.service or leg.channel,
                "due_at": begun + timedelta(seconds=leg.ttl or 0) if waits else None,
                "taken_at": now if leg.number == row.leg else None,
                "parts": parts.billed(leg.channel, body.get("text", "")),
                **{"price": str(way.price), "currency": way.currency},
            }
        )
    return found


def _follow(work: Record, row: MessageRow, item: Wanted, source: Source) -> None:
    """It was handed over elsewhere: an attempt of ours stands for that, so that its receipts find it."""
    attempt = work.start_attempt(row, account_id=item.route.account_id, idempotency_key="")
    attempt.finished_at = work.now
    attempt.price = parts.price(row.channel, item.body.get("text", ""), item.route.price, item.route.currency)
    attempt.reference = row.reference = item.request.provider_message_id or ""
    work.add_fact(row, attempt, Fact(FactKind.ACCEPTED, work.now), key="result:1", source=source)


# --- answers


def _items(
    right: Mapping[int, Wanted], wrong: Mapping[int, Invalid], shapes: list[dict[str, Any]], batch: int | None
) -> Answer:
    answers = [{"index": index, **shape} for index, shape in zip(right, shapes, strict=True)]
    answers += [{"index": index, "error": problem.invalid(invalid.errors)} for index, invalid in wrong.items()]
    answers.sort(key=lambda item: item["index"])
    return {"batch_id": batch, "accepted": len(right), "rejected": len(wrong), "notifications": answers}


def _inside_batch(wrong: Mapping[int, Invalid]) -> list[FieldError]:
    found = [
        FieldError(f"/notifications/{index}{error.pointer}", error.detail)
        for index, invalid in wrong.items()
        for error in invalid.errors
    ]
    return found[: schema.MAX_ERRORS]
