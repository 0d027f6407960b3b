"""Reads again what adapters could not classify, by the rules of operators. Called by the admin and by tasks.

An event keeps what its adapter made of it (`marks.told`), so a rule may come, change and go: the same run puts history
right each time. It changes what is known of messages, never what is sent.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction

from providers import mapping
from providers.base import BounceClass, FailureClass
from providers.mapping import Reading, Rule
from providers.models import ErrorMapping, ProviderAccount
from tracking import accounts, ids, marks
from tracking.models import Remap, RemapState
from tracking.rows import MessageRow
from tracking.services import devices, suppress
from tracking.services.record import DISPATCH, Change, refold
from tracking.statuses import FactKind, Status

SLICE = 200  # events of one transaction
PREVIEWED = 2_000  # events that a preview looks at
STALE = timedelta(minutes=2)  # a run that was not worked at for so long has lost its worker
COUNTED = 10_000  # unmapped events that the inbox looks at
_LAST = UUID(int=2**128 - 1)
_ENDED_BADLY = (Status.BOUNCED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A word and code that no adapter knows, as the inbox shows it."""

    kind: str
    word: str
    code: str
    count: int
    first_at: datetime
    last_at: datetime
    text: str  # of the newest
    message_id: UUID
    hand_over: bool  # the answer to a hand-over, not a receipt


@dataclass(slots=True)
class Effect:
    """What a run did, or would do."""

    events: int = 0
    changed: int = 0
    messages: int = 0
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)  # (before, after) → messages
    suppressed: int = 0
    more: bool = False  # there is more than was looked at


@dataclass(frozen=True, slots=True)
class _Event:
    message_id: UUID
    key: str
    source: str
    now: Reading
    code: str
    text: str
    detail: dict[str, Any]

    @property
    def told(self) -> Reading:
        return marks.told(self.detail, self.now)


# --- the inbox


_INBOX = """
SELECT a.kind, coalesce(e.detail->>'word', ''), e.code, count(*), min(e.recorded_at), max(e.recorded_at),
       (array_agg(e.text ORDER BY e.recorded_at DESC))[1], (array_agg(e.message_id ORDER BY e.recorded_at DESC))[1],
       bool_and(e.source = 'dispatch')
  FROM (SELECT * FROM event WHERE detail ? 'unmapped' ORDER BY message_id DESC, dedupe_key DESC LIMIT %s) e
  JOIN providers_provideraccount a ON a.id = e.account_id
 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 6 DESC LIMIT 200
"""


def inbox() -> list[Unmapped]:
    """What no adapter and no rule knows, of the newest COUNTED such events."""
    with connection.cursor() as cursor:
        cursor.execute(_INBOX, [COUNTED])
        return [Unmapped(*row) for row in cursor.fetchall()]


# --- a look ahead


def preview(*, kind: str, rules: Sequence[Rule], days: int) -> Effect:
    """What these rules would change, among the newest PREVIEWED events. It is done, and taken back: so it is exact."""
    effect, place, since = Effect(), (_LAST, ""), ids.floor(datetime.now(UTC) - timedelta(days=days))
    while effect.events < PREVIEWED:
        with transaction.atomic():
            found = _candidates(kind, since, place, SLICE)
            _apply(found, rules, effect)
            transaction.set_rollback(True)
        if len(found) < SLICE:
            return effect
        place = (found[-1].message_id, found[-1].key)
    effect.more = bool(_candidates(kind, since, place, 1))
    return effect


# --- a run


def start(*, kind: str, days: int, by: str, why: str = "") -> Remap:
    """On record; the caller lets the job `remap` work at it."""
    now = datetime.now(UTC)
    return Remap.objects.create(
        kind=kind, days=days, since=now - timedelta(days=days), by=by, why=why[:500], worked_at=now
    )


def work(run_id: int, *, seconds: float) -> bool:
    """Go on with a run for so long. True where nothing is left to do, or another worker does it."""
    until = time.monotonic() + seconds
    rules = stored_rules(run_id)
    while time.monotonic() < until:
        with transaction.atomic():
            runs = Remap.objects.select_for_update(skip_locked=True).filter(pk=run_id, state=RemapState.RUNNING)
            run = runs.first()
            if run is None or _step(run, rules):
                return True
    return False


def stored_rules(run_id: int) -> Sequence[Rule]:
    """The rules of the run's kind as they stand now. Processes that have kept older ones are given time to forget
    them: what they record meanwhile would be missed."""
    run = Remap.objects.get(pk=run_id)
    settled = run.created_at + timedelta(seconds=2 * accounts.KEPT)
    time.sleep(max(0.0, min(2 * accounts.KEPT, (settled - datetime.now(UTC)).total_seconds())))
    return rules_of(run.kind)


def rules_of(kind: str, *, without: int | None = None) -> Sequence[Rule]:
    stored = [each for each in ErrorMapping.objects.filter(kind=kind) if each.pk != without]
    return mapping.in_order(each.rule() for each in stored)


def _step(run: Remap, rules: Sequence[Rule]) -> bool:
    place = (run.before_message or _LAST, run.before_key)
    found = _candidates(run.kind, ids.floor(run.since), place, SLICE)
    effect = Effect()
    _apply(found, rules, effect)
    now = datetime.now(UTC)
    if found:
        run.before_message, run.before_key = found[-1].message_id, found[-1].key
    run.events += effect.events
    run.changed += effect.changed
    run.suppressed += effect.suppressed
    steps = {f"{before} > {after}": count for (before, after), count in effect.statuses.items()}
    run.statuses = dict(Counter(run.statuses) + Counter(steps))
    run.worked_at = now
    if len(found) < SLICE:
        run.state, run.finished_at = RemapState.DONE, now
    run.save()
    return run.state == RemapState.DONE


def abandoned() -> list[int]:
    """Runs whose worker is gone."""
    stale = datetime.now(UTC) - STALE
    return list(Remap.objects.filter(state=RemapState.RUNNING, worked_at__lt=stale).values_list("pk", flat=True))


def share(run: Remap) -> float:
    """How much of its time it has behind it: 0 to 1."""
    if run.state == RemapState.DONE:
        return 1.0
    if run.before_message is None:
        return 0.0
    span = (run.created_at - run.since).total_seconds()
    behind = (run.created_at - ids.time_of(run.before_message)).total_seconds()
    return min(1.0, max(0.0, behind / span)) if span > 0 else 0.0


# --- what both do


_PART = """(SELECT message_id, dedupe_key, source, kind, failure, bounce, code, text, detail FROM event
 WHERE detail ? '{mark}' AND account_id = ANY(%(accounts)s) AND message_id >= %(since)s AND message_id <= %(message)s
   AND (message_id, dedupe_key) < (%(message)s, %(key)s)
 ORDER BY message_id DESC, dedupe_key DESC LIMIT %(limit)s)"""
_CANDIDATES = (
    f"{_PART.format(mark=marks.UNMAPPED)} UNION ALL {_PART.format(mark=marks.MAPPED)}"
    " ORDER BY message_id DESC, dedupe_key DESC LIMIT %(limit)s"
)


def _candidates(kind: str, since: UUID, place: tuple[UUID, str], limit: int) -> list[_Event]:
    """The next events of accounts of that kind which an adapter did not know, newest message first."""
    known = list(ProviderAccount.objects.filter(kind=kind).values_list("pk", flat=True))
    params: dict[str, Any] = {"accounts": known, "since": since, "message": place[0], "key": place[1], "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(_CANDIDATES, params)
        return [
            _Event(
                message_id,
                key,
                source,
                Reading(kind_now, failure, bounce),
                code,
                text,
                orjson.loads(detail) if isinstance(detail, str) else detail,
            )
            for message_id, key, source, kind_now, failure, bounce, code, text, detail in cursor.fetchall()
        ]


def _apply(found: Sequence[_Event], rules: Sequence[Rule], effect: Effect) -> None:
    """Inside the caller's transaction."""
    effect.events += len(found)
    changes = [change for event in found if (change := _change(event, rules)) is not None]
    if not changes:
        return
    effect.changed += len(changes)
    _write(changes)
    after = refold({change["message_id"] for change in changes})
    effect.messages += len({change["message_id"] for change in changes})
    effect.statuses.update((str(each.before), str(each.message.status)) for each in after if _moved(each))
    bad = {change["message_id"] for change in changes if change["suppress"]}
    messages = (each.message for each in after)
    effect.suppressed += _suppress([row for row in messages if row.id in bad and row.status in _ENDED_BADLY])


def _moved(change: Change) -> bool:
    return change.before != change.message.status


def _suppress(rows: Sequence[MessageRow]) -> int:
    """How many recipients were not on the list yet."""
    added = 0
    for project_id in {row.project_id for row in rows}:
        mine = {(row.channel, row.recipient): row for row in rows if row.project_id == project_id}
        fresh = mine.keys() - suppress.suppressed(project_id, mine)
        suppress.add(devices.settle([_entry(mine[pair]) for pair in fresh]))
        added += len(fresh)
    return added


def _entry(row: MessageRow) -> suppress.Entry:
    last = row.tries[-1] if row.tries else None
    return suppress.Entry(row.project_id, row.channel, row.recipient, "hard_bounce", row.id, attempt=last)


def _change(event: _Event, rules: Sequence[Rule]) -> dict[str, Any] | None:
    """What is to be written of an event; None where it is understood as before."""
    told, word = event.told, str(event.detail.get(marks.WORD, ""))
    rule = mapping.find(rules, word=word, code=event.code, text=event.text)
    detail, suppresses = marks.without(event.detail), False
    if rule is None:
        reading, detail = told, detail | {marks.UNMAPPED: True}
    elif event.source == DISPATCH.kind:
        reading, detail = rule.of_hand_over(told), detail | marks.mapped(rule.id, told)
        suppresses = rule.meaning.suppress
    else:
        reading, detail = rule.of_receipt(told), detail | marks.mapped(rule.id, told)
        suppresses = rule.meaning.suppress and marks.COPY not in detail
    if marks.COPY in detail:  # what became of a copy never says what became of the message
        reading = reading._replace(kind=FactKind.OTHER)
    if (reading, detail) == (event.now, event.detail):
        return None
    return {
        "message_id": event.message_id,
        "dedupe_key": event.key,
        "kind": str(reading.kind),
        "failure": FailureClass(reading.failure) if reading.failure else None,
        "bounce": BounceClass(reading.bounce) if reading.bounce else None,
        "detail": detail,
        "suppress": suppresses,
    }


def _write(changes: Sequence[dict[str, Any]]) -> None:
    keys = sorted(change["message_id"] for change in changes)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE event e SET kind = r.kind, failure = r.failure, bounce = r.bounce, detail = r.detail"
            " FROM jsonb_to_recordset(%s::jsonb)"
            " AS r (message_id uuid, dedupe_key text, kind text, failure text, bounce text, detail jsonb)"
            " WHERE e.message_id = r.message_id AND e.dedupe_key = r.dedupe_key AND e.message_id BETWEEN %s AND %s",
            [orjson.dumps(list(changes)).decode(), keys[0], keys[-1]],
        )
