"""What recipients do with what they were sent: opens, clicks, an app's callbacks, and unsubscribing. Called by the
addresses that messages carry (tracking.visits) and by the receive loop.

An open is one INSERT; the page answers at once. Some seconds later the visits of a message are judged together, by a
human being or a machine, and recorded like receipts. Unsubscribing is done before it is answered.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DataError, IntegrityError, ProgrammingError, connection, transaction

from providers.base import Channel
from providers.text import clean
from tracking import store
from tracking.engagement import machines
from tracking.engagement.tokens import Handed
from tracking.models import ConsentState, Project, ShortLink, Tracked, Visit
from tracking.prepared import prepared
from tracking.rows import AttemptRow, MessageRow
from tracking.services import consents
from tracking.services.consents import Asked, By
from tracking.services.record import Record, Source
from tracking.statuses import Fact, FactKind

log = logging.getLogger(__name__)

CANDIDATES = 1_000  # visits that one batch begins with
SOURCE = "engagement"
_REFUSED = (DataError, IntegrityError, ProgrammingError, ValueError)
_LOCK = 0x706F7374_76697369  # one process at a time judges visits
_BATCH = (
    "WITH old AS (SELECT DISTINCT message_id FROM"
    "  (SELECT message_id FROM engagement_visit WHERE at < %(quiet)s ORDER BY at LIMIT %(limit)s) o),"
    " ripe AS (SELECT v.message_id FROM engagement_visit v JOIN old USING (message_id)"
    "  GROUP BY v.message_id HAVING max(v.at) < %(quiet)s OR min(v.at) < %(long)s)"
    " DELETE FROM engagement_visit v USING ripe WHERE v.message_id = ripe.message_id"
    " RETURNING v.message_id, v.attempt, v.kind, v.link, v.at, v.machine, v.agent, v.url"
)


class Seen(NamedTuple):
    """A visit as it stands in the table."""

    message_id: UUID
    attempt: int
    kind: str
    link: int | None
    at: datetime
    machine: str
    agent: str
    url: str


@dataclass(frozen=True, slots=True)
class Page:
    """What whoever unsubscribes is told: of whom, and from what."""

    project: str
    purpose: str
    done: bool = False


# --- taken in


def take(handed: Handed, kind: FactKind, *, method: str, headers: Mapping[str, str], url: str = "") -> None:
    """Commit one visit. `headers`: lower-case names. Raises DatabaseError."""
    # an app's callback is made by the app: what it calls itself says nothing
    machine = "" if method == "POST" else machines.of_request(method, headers)
    Visit.objects.create(
        message_id=handed.message_id,
        attempt=handed.attempt,
        kind=kind,
        link=handed.link if kind is FactKind.CLICKED else None,
        at=datetime.now(UTC),
        machine=machine,
        agent=clean(headers.get("user-agent", ""), 200),
        url=url,
    )


def target(handed: Handed) -> str | None:
    """Where a link leads. None: the message is not kept any more."""
    row = Tracked.objects.filter(message_id=handed.message_id, attempt=handed.attempt).values_list("targets").first()
    targets = row[0] if row else []
    return targets[handed.link] if handed.link < len(targets) else None


def of_code(code: str) -> Handed | None:
    """Which link a short code stands for."""
    row = ShortLink.objects.filter(code=code).values_list("message_id", "attempt", "link").first()
    return Handed(*row) if row else None


# --- unsubscribing


def page(handed: Handed) -> Page | None:
    """What a recipient would unsubscribe from. None: the message is not kept any more."""
    purpose = _purpose(handed)
    row = store.read_messages([handed.message_id]).get(handed.message_id) if purpose is not None else None
    return None if row is None else Page(_name(row.project_id), purpose or "")


def unsubscribe(handed: Handed) -> Page | None:
    """The consent for the message's purpose is withdrawn; where it has none, its recipient is suppressed. Once or often
    is the same. None: the message is not kept any more."""
    purpose = _purpose(handed)
    if purpose is None:
        return None
    key = f"{SOURCE}:{FactKind.UNSUBSCRIBED}:{handed.attempt}"
    with transaction.atomic():
        work = Record([handed.message_id], facts={(handed.message_id, key)})
        row = work.messages.get(handed.message_id)
        attempt = row.attempt(handed.attempt) if row else None
        if row is None or attempt is None:
            return None
        detail = {"purpose": purpose} if purpose else None
        source = Source(SOURCE, attempt.account_id, detail=detail)
        work.add_fact(row, attempt, Fact(FactKind.UNSUBSCRIBED, work.now), key=key, source=source)
        work.learn()
        if purpose:
            asked = Asked(*row.address(attempt.leg), purpose)
            by = By(SOURCE, message_id=row.id)
            consents.put(project_id=row.project_id, wanted=[(asked, ConsentState.WITHDRAWN)], by=by)
        else:
            work.suppress(row, "unsubscribed", *row.address(attempt.leg))
        work.save()
    return Page(_name(row.project_id), purpose, done=True)


def _purpose(handed: Handed) -> str | None:
    found = Tracked.objects.filter(message_id=handed.message_id, attempt=handed.attempt)
    return found.values_list("purpose", flat=True).first()


def _name(project_id: int) -> str:
    project = Project.objects.only("name", "code").get(pk=project_id)
    return project.name or project.code


# --- judged and recorded


def drain() -> int:
    """Record the visits that have settled; how many there were."""
    now = datetime.now(UTC)
    with transaction.atomic(), prepared(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return 0
        bounds: dict[str, Any] = {"quiet": now - machines.TOGETHER, "long": now - machines.LONGEST, "limit": CANDIDATES}
        cursor.execute(_BATCH, bounds)
        found = [Seen(*values) for values in cursor.fetchall()]
        by_message: dict[UUID, list[Seen]] = defaultdict(list)
        for visit in sorted(found, key=lambda visit: visit.at):
            by_message[visit.message_id].append(visit)
        _settle(list(by_message.values()))
    return len(found)


def _settle(of_messages: Sequence[Sequence[Seen]]) -> None:
    """Record them; what the database refuses is lost alone, and never holds up the others."""
    if not of_messages:
        return
    try:
        with transaction.atomic():
            _record(of_messages)
    except _REFUSED:
        log.exception("the visits of %d messages were refused", len(of_messages))
        middle = len(of_messages) // 2
        for half in (of_messages[:middle], of_messages[middle:]) if middle else ():
            _settle(half)


def _record(of_messages: Sequence[Sequence[Seen]]) -> None:
    found = [visit for visits in of_messages for visit in visits]
    keys = {(visit.message_id, _key(visit, machine)) for visit in found for machine in (False, True)}
    work = Record({visit.message_id for visit in found}, facts=keys)
    for visits in of_messages:
        row = work.messages.get(visits[0].message_id)  # None: it was purged meanwhile
        for visit in visits:
            attempt = row.attempt(visit.attempt) if row else None
            if row is not None and attempt is not None:
                _add(work, row, attempt, visit, _machine(row, attempt, visit, visits))
    work.save()


def _add(work: Record, row: MessageRow, attempt: AttemptRow, visit: Seen, machine: str) -> None:
    detail: dict[str, Any] = {"user_agent": visit.agent} if visit.agent else {}
    if visit.kind == FactKind.CLICKED:
        detail |= {"link": visit.link, "url": visit.url}
    if machine:
        detail["machine"] = machine
    work.add_fact(
        row,
        attempt,
        Fact(FactKind(visit.kind), visit.at, machine=bool(machine)),
        key=_key(visit, bool(machine)),
        source=Source(SOURCE, attempt.account_id, detail=detail or None),
        received_at=visit.at,
    )


def _machine(row: MessageRow, attempt: AttemptRow, visit: Seen, visits: Sequence[Seen]) -> str:
    """Why it was a machine, or ""."""
    if visit.machine or row.address(attempt.leg)[0] == Channel.PUSH:
        return visit.machine
    if machines.too_quick(visit.at, attempt.finished_at or attempt.started_at):
        return "too soon after the hand-over"
    clicked = [each.link or 0 for each in visits if each.kind == FactKind.CLICKED and each.attempt == visit.attempt]
    return "many links at once" if machines.many(clicked) else ""


def _key(visit: Seen, machine: bool) -> str:
    """The same doing counts once an hour: a client that asks again and again writes no history without end."""
    what = [SOURCE, visit.kind, visit.attempt, "" if visit.link is None else visit.link, "m" if machine else "h"]
    return ":".join(map(str, [*what, f"{visit.at:%Y%m%d%H}"]))
