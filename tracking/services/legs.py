"""Fallback: when a message goes on by its next leg. Called by submit, dispatch and receive inside of their own Record,
and by the dispatch loop for legs whose time has come.

Everything is decided under the message's lock, so that no leg is taken twice. A hand-over that is under way is never
overtaken: its message is looked at again when it has ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import transaction

from tracking import store
from tracking.models import Content
from tracking.redact import ERASED
from tracking.rows import Leg, MessageRow
from tracking.services import consents, route
from tracking.services.consents import Asked
from tracking.services.record import DISPATCH, Record, Source
from tracking.services.route import NoRoute, Route
from tracking.statuses import Decision, Status

BATCH = 500  # messages in one transaction
LOOK_SECONDS = 1.0  # the loop that looks hands messages over, too
LOOK_AGAIN = timedelta(seconds=2)  # at a leg that is due while the one before is being handed over
_ENDED = (Status.FAILED, Status.BOUNCED)
_OVER = (Decision.CANCEL, Decision.EXPIRE, Decision.REJECT)  # for the message, whatever way it might take
_WAITING = (Status.PENDING, Status.SENT, Status.UNKNOWN)
_RECEIPT = Source("provider")


@dataclass(frozen=True, slots=True)
class _Next:
    """The leg that can be taken, and what was found out about those before it."""

    leg: Leg
    route: Route
    passed: tuple[str, ...]


def wanted(row: MessageRow) -> bool:
    """Its next leg was decided on, and nothing has been handed over since."""
    return bool(row.fallbacks) and row.decision is Decision.NEXT_LEG and row.status is Status.PENDING


def after_failure(work: Record, rows: Iterable[MessageRow], *, source: Source) -> list[MessageRow]:
    """Those whose leg has just ended without a delivery and that go on by another one."""
    return [row for row in rows if row.fallbacks and _just_ended(work, row) and _go_on(work, row, source)]


def after_receipts(work: Record) -> None:
    """As `after_failure`, of all messages; and where a leg that was given up arrived all the same, it is said."""
    rows = [row for row in work.messages.values() if row.fallbacks]
    after_failure(work, rows, source=_RECEIPT)
    tell_double_deliveries(work, rows, source=_RECEIPT)


def tell_double_deliveries(work: Record, rows: Iterable[MessageRow], *, source: Source) -> None:
    """A receipt shows them, or the answer to a hand-over during which the leg before arrived."""
    for row in rows:
        before = work.before(row)
        if row.delivered_twice and not (before and before.delivered_twice):
            text = "a leg that was given up arrived all the same: the recipient may have the message twice"
            work.note(row, key="delivered_twice", source=source, text=text)


def take_overdue() -> int:
    """Take the legs whose time has come while the one before has not delivered. How many were taken. What is left of
    very many after a second waits for the next look."""
    until, taken = time.monotonic() + LOOK_SECONDS, 0
    while due := store.overdue_legs(BATCH):
        taken += _take_each(due)
        if len(due) < BATCH or time.monotonic() > until:
            break
    return taken


def _take_each(due: Sequence[store.LegKey]) -> int:
    with transaction.atomic():
        work = Record({key for key, _ in due})
        looked = [_take_due(work, key, number) for key, number in due]
        again = datetime.now(UTC) + LOOK_AGAIN
        settled = [(key, number, None if done else again) for (key, number), done in zip(due, looked, strict=True)]
        store.write([store.due_legs(settled)])
        taken = sum(wanted(row) for row in work.messages.values())
        work.save()
    return taken


def _take_due(work: Record, key: UUID, number: int) -> bool:
    """False: it is not possible yet."""
    row = work.messages.get(key)
    if row is None or row.leg + 1 != number or _over(work, row):
        return True
    if row.status is Status.PROCESSING:
        return False
    if row.status not in _WAITING:
        return True
    found = _next(row)
    if isinstance(found, str):
        work.note(row, key=f"leg:{number}", source=DISPATCH, text=found)
        return True
    if row.status is Status.PENDING and not store.take_from_queue([row.id]):
        return False
    _take(work, row, found, f"the leg before had not delivered within {row.legs[number].ttl} s", DISPATCH)
    return True


def _just_ended(work: Record, row: MessageRow) -> bool:
    before = work.before(row)
    return row.status in _ENDED and not (before and before.status in _ENDED) and not _over(work, row)


def _over(work: Record, row: MessageRow) -> bool:
    return row.decision in _OVER or bool(row.expires_at and row.expires_at <= work.now)


def _go_on(work: Record, row: MessageRow, source: Source) -> bool:
    if row.leg >= row.fallbacks:
        return False
    found = _next(row)
    if isinstance(found, str):
        work.note(row, key=f"leg:{row.leg + 1}", source=source, text=found)
        return False
    how = "bounced" if row.status is Status.BOUNCED else "failed"
    _take(work, row, found, f"the leg before {how}: {row.reason}", source)
    return True


def _take(work: Record, row: MessageRow, found: _Next, why: str, source: Source) -> None:
    leg = found.leg
    text = "; ".join([f"leg {leg.number} ({leg.channel}, {found.route.code}): {why}", *found.passed])
    work.take_leg(row, leg.number, found.route, source=source, text=text)


def _next(row: MessageRow) -> _Next | str:
    """The next leg that can be taken, or why there is none."""
    passed = []
    purpose = _purpose(row)
    for leg in row.legs:
        if leg.number <= row.leg:
            continue
        if leg.recipient == ERASED:
            passed.append(f"leg {leg.number} was passed over: its recipient was erased")
            continue
        asked = Asked(leg.channel, leg.recipient, purpose)
        stopped = consents.stopped(row.project_id, [asked])
        if asked in stopped:
            why = stopped[asked] or "its recipient is on the suppression list"
            passed.append(f"leg {leg.number} was passed over: {why}")
            continue
        try:
            return _Next(leg, route.choose(row.project_id, leg.channel, leg.provider or None), tuple(passed))
        except NoRoute as none:
            passed.append(f"leg {leg.number} was passed over: {none.detail}")
    return "; ".join(passed) or "no leg is left"


def _purpose(row: MessageRow) -> str:
    """Of a message that is just being written nobody knows it here: dispatch asks before it hands it over."""
    return Content.objects.filter(pk=row.id).values_list("body__purpose", flat=True).first() or ""
