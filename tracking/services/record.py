"""The only writer of facts and of Message.status. Called by submit, dispatch, receive, retry and the maintenance jobs.

A `Record` is the work of one transaction on a set of messages: it locks them in id order (so that any number of
loops never deadlock), takes facts and decisions, and writes the consequences: events, attempts, statuses, metric
deltas, outgoing webhooks, what streams tell, suppressions, and the end of a waiting retry that a late delivery made
pointless.

    with transaction.atomic():
        work = Record(message_ids)
        work.add_fact(...)        # any number
        work.learn()              # learns what is new; statuses are up to date from here on
        work.decide(...)          # decisions may depend on them
        changes = work.save()
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tracking import counters, news, store, wake
from tracking.redact import ERASED
from tracking.rows import AttemptRow, MessageRow
from tracking.services import devices, outgoing, stream, suppress
from tracking.services.route import Route
from tracking.statuses import Attempt, Decision, Fact, FactKind, Status, learn

FUTURE_TOLERANCE = timedelta(minutes=5)  # a receipt's time is clamped to [attempt start, received + this]


@dataclass(frozen=True, slots=True)
class Source:
    """Who says so: an API key, an operator, the dispatcher, a provider's receipt, a job."""

    kind: str
    account_id: int | None = None
    inbound_id: UUID | None = None
    detail: dict[str, Any] | None = None


DISPATCH = Source("dispatch")
_RECEIPT = Source("provider")
_ON_ITS_WAY = (Status.SENT, Status.DELIVERED, Status.READ)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one message."""

    message: MessageRow
    before: Status | None
    milestones: tuple[Status, ...]  # statuses newly reached, in the order of a message's life


class Record:
    def __init__(
        self, message_ids: Collection[UUID], *, facts: Collection[store.EventKey] = (), now: datetime | None = None
    ) -> None:
        """`facts`: the (message, key) pairs that `add_fact` will name, as far as they are known: it saves a look."""
        self.now = now or datetime.now(UTC)
        self.messages, self._known = store.lock_messages(message_ids, facts)
        with_fallback = [key for key, row in self.messages.items() if row.fallbacks]
        if with_fallback:
            for key, legs in store.legs_of(with_fallback).items():
                self.messages[key].legs = legs
        self._looked_up = set(facts)
        self._before = {key: row.snapshot() for key, row in self.messages.items()}
        self._facts: list[tuple[MessageRow, AttemptRow, Fact, dict[str, Any]]] = []
        self._events: list[dict[str, Any]] = []
        self._keys: set[tuple[UUID, str]] = set()
        self._new_attempts: list[AttemptRow] = []
        self._suppress: list[suppress.Entry] = []
        self._taken: list[tuple[MessageRow, Route]] = []  # whose next leg begins

    def before(self, row: MessageRow) -> MessageRow | None:
        """As it was when it was locked; None: it is new."""
        return self._before.get(row.id)

    # --- what is put on record

    def add_message(self, row: MessageRow, *, source: Source, text: str = "") -> None:
        """A new message, with its first decision. `text`: why."""
        self.messages[row.id] = row
        self._decision_event(row, row.decision, source=source, text=text)

    def start_attempt(self, row: MessageRow, *, account_id: int, idempotency_key: str) -> AttemptRow:
        """A hand-over is about to happen: on record before the provider is called."""
        number = row.attempts + 1
        attempt = AttemptRow(row.id, Attempt(number), account_id, row.leg, idempotency_key, self.now)
        row.tries.append(attempt)
        row.attempts = number
        row.account_id = account_id
        self._new_attempts.append(attempt)
        return attempt

    def add_fact(
        self,
        row: MessageRow,
        attempt: AttemptRow,
        fact: Fact,
        *,
        key: str,
        source: Source,
        said_at: datetime | None = None,
        received_at: datetime | None = None,
    ) -> None:
        """One fact of one attempt. `key` tells it from every other fact of the message: the same key counts once."""
        if (row.id, key) in self._keys:
            return
        self._keys.add((row.id, key))
        received_at = received_at or self.now
        latest = received_at + FUTURE_TOLERANCE
        if not attempt.started_at <= fact.at <= latest:
            fact = fact._replace(at=max(attempt.started_at, min(fact.at, latest)))
        event = _event(row.id, key, fact.kind, attempt.number, fact.at, received_at, source, fact.text)
        if said_at:
            event["said_at"] = said_at
        if fact.failure:
            event["failure"] = fact.failure
        if fact.bounce:
            event["bounce"] = fact.bounce
        if fact.machine:
            event["machine"] = True
        if fact.code:
            event["code"] = fact.code
        self._facts.append((row, attempt, fact, event))

    def note(self, row: MessageRow, *, key: str, source: Source, text: str) -> None:
        """Something was done about the message that changes nothing of it: it stands in the timeline, and is no fact of
        any attempt."""
        self._events.append(_event(row.id, f"note:{key}", FactKind.OTHER, 0, self.now, self.now, source, text[:1000]))

    def suppress(
        self, row: MessageRow, reason: str, channel: str, address: str, attempt: AttemptRow | None = None
    ) -> None:
        """The address is bad, or its owner wants no more: nothing more is sent to it by this project."""
        if address == ERASED:  # whose it was, nobody knows any more
            return
        self._suppress.append(suppress.Entry(row.project_id, channel, address, reason, row.id, attempt=attempt))

    def take_leg(self, row: MessageRow, number: int, route: Route, *, source: Source, text: str) -> None:
        """The message goes on by another leg, with a budget of its own: nobody waits for the legs before any more."""
        row.leg, row.account_id, row.budget_from = number, route.account_id, row.attempts
        self.decide(row, Decision.NEXT_LEG, source=source, text=text)
        self._taken.append((row, route))

    def learn(self) -> set[store.EventKey]:
        """Learn those of the facts given so far that are new, fold. The (message, key) pairs that were new. The events
        are written by `save`; until then the messages' locks keep others from recording the same."""
        given = {(row.id, event["dedupe_key"]) for row, _, _, event in self._facts}
        unsure = [pair for pair in given - self._looked_up if pair[0] in self._before]
        self._known |= store.known_events(unsure)
        fresh = given - self._known
        for row, attempt, fact, event in self._facts:
            if (row.id, event["dedupe_key"]) in fresh:
                attempt.facts = learn(attempt.facts, fact)
                self._events.append(event)
        touched = {row.id: row for row, *_ in self._facts}
        self._facts = []
        for row in touched.values():
            self.fold(row)
        return fresh

    def decide(self, row: MessageRow, decision: Decision, *, source: Source, text: str = "") -> None:
        row.decision = decision
        row.decisions += 1
        row.decided_after = row.attempts
        if decision is Decision.OPERATOR_RETRY:
            row.budget_from = row.attempts
            row.operator_retries += 1
        self._decision_event(row, decision, source=source, text=text)
        self.fold(row)

    def _decision_event(self, row: MessageRow, decision: Decision, *, source: Source, text: str) -> None:
        key = f"decision:{row.decisions}"
        event = _event(row.id, key, decision, row.attempts, self.now, self.now, source, text[:1000])
        self._events.append({**event, "number": row.decisions})

    def fold(self, row: MessageRow) -> None:
        row.take(row.folded())

    # --- what follows from it

    def save(self, also: Iterable[store.Write] = (), *, unless: store.Condition | None = None) -> list[Change]:
        """Write everything that changed, and what the caller writes beside it. The caller's transaction makes it one
        step; where there are only new messages, it is one statement anyway. `unless` as in `store.write`."""
        if self._facts:
            self.learn()
        for attempt in self._new_attempts:
            self.fold(self.messages[attempt.message_id])
        needless = self._take_back_retries()
        created = [row for key, row in self.messages.items() if key not in self._before]
        changed = [row for key, row in self.messages.items() if key in self._before and row != self._before[key]]
        deltas = store.deltas(self._deltas(created, changed))
        new_attempts = store.attempts(self._new_attempts)
        changes = [self._change(row) for row in (*created, *changed)]
        told = outgoing.of_changes([self._step(change) for change in changes], self.now)
        streamed = stream.of_changes(((change.message, change.before) for change in changes), self.now)
        store.write(
            [
                *(store.events(self._events), store.messages(created), new_attempts, deltas),
                store.changed_attempts(self._changed_attempts(changed)),
                store.changed_messages((row, self._before[row.id]) for row in changed),
                told,
                *self._legs(),
                streamed,
                *also,
            ],
            unless=unless,
        )
        if told.rows:
            wake.after_commit(wake.PUBLISH)
        if self._taken:
            wake.after_commit(wake.DISPATCH)
        self._events, self._taken = [], []
        suppress.add(devices.settle(self._suppress))
        store.take_from_queue(needless)
        news.after_commit([_moved(change) for change in changes if change.before is not change.message.status])
        return changes

    def _take_back_retries(self) -> list[UUID]:
        """A receipt, however late, that shows the message on its way ends a retry that is still waiting. That is on
        record as a decision: were the message to bounce afterwards, it would seem to wait for ever."""
        needless = [row for row in self.messages.values() if row.send_wanted and row.status in _ON_ITS_WAY]
        for row in needless:
            row.leg = row.tries[-1].leg  # a leg that was not begun is still there to be taken
            self.decide(row, Decision.FOLLOW, source=_RECEIPT, text="a receipt made the waiting retry needless")
        return [row.id for row in needless]

    def _legs(self) -> list[store.Write]:
        """What follows from the legs that were taken. Rows of new messages are written by submit."""
        wanted = [(row, route) for row, route in self._taken if row.send_wanted]
        if not wanted:
            return []
        old = [(row, route) for row, route in wanted if row.id in self._before]
        taken = [
            {
                **{"message_id": row.id, "number": row.leg, "taken_at": self.now},
                **{"price": str(route.price), "currency": route.currency},
            }
            for row, route in old
        ]
        dues = [due for row, _ in old for due in row.due_legs(self.now)]
        # a new one whose first leg was passed over may be scheduled
        queued = [store.queue_row(row, max(row.extra.get("scheduled_at") or self.now, self.now)) for row, _ in wanted]
        return [store.taken_legs(taken), store.due_legs(dues), store.queued(queued)]

    def _changed_attempts(self, changed: Iterable[MessageRow]) -> list[tuple[AttemptRow, AttemptRow]]:
        """(attempt, as it was) of those that were there before; new ones stand at the end."""
        return [pair for row in changed for pair in zip(row.tries, self._before[row.id].tries, strict=False)]

    def _deltas(self, created: Iterable[MessageRow], changed: Iterable[MessageRow]) -> counters.Deltas:
        deltas = counters.none()
        for row in created:
            count(row, 1, deltas)
        for row in changed:
            count(self._before[row.id], -1, deltas)
            count(row, 1, deltas)
        return deltas

    def _change(self, row: MessageRow) -> Change:
        before = self._before.get(row.id)
        return Change(row, before.status if before else None, milestones(before, row))

    def _step(self, change: Change) -> outgoing.Step:
        return outgoing.Step(change.message, self._before.get(change.message.id), change.milestones)


def _moved(change: Change) -> news.News:
    row = change.message
    return news.News(news.MOVED, row.project_id, row.id, row.channel, change.before or "", row.status)


def _event(
    message_id: UUID,
    key: str,
    kind: FactKind | Decision,
    attempt: int,
    occurred_at: datetime,
    recorded_at: datetime,
    source: Source,
    text: str,
) -> dict[str, Any]:
    """What every event says. What it does not say is left out: it would cost as much as what it says."""
    event: dict[str, Any] = {
        "message_id": message_id,
        "dedupe_key": key,
        "kind": kind,
        "attempt": attempt,
        "occurred_at": occurred_at,
        "recorded_at": recorded_at,
        "source": source.kind,
    }
    if text:
        event["text"] = text
    if source.account_id:
        event["account_id"] = source.account_id
    if source.inbound_id:
        event["inbound_id"] = source.inbound_id
    if source.detail:
        event["detail"] = source.detail
    return event


def milestones(before: MessageRow | None, after: MessageRow) -> tuple[Status, ...]:
    """The statuses newly reached: a batch that brings sent, delivered and read reaches three."""
    reached: list[Status] = []
    for status, name in ((Status.SENT, "sent_at"), (Status.DELIVERED, "delivered_at"), (Status.READ, "read_at")):
        if getattr(after, name) and not (before and getattr(before, name)):
            reached.append(status)
    ended = after.status in (Status.FAILED, Status.BOUNCED, Status.CANCELLED, Status.UNKNOWN)
    if ended and not (before and before.status is after.status):
        reached.append(after.status)
    return tuple(reached)


def count(row: MessageRow, sign: int, into: counters.Deltas) -> None:
    """What a message and its attempts contribute to the counters."""
    counters.count_message(row, sign, into)
    for attempt in row.tries:
        counters.count_attempt(
            attempt.facts,
            started_at=attempt.started_at,
            project_id=row.project_id,
            channel=row.channel,
            account_id=attempt.account_id,
            sign=sign,
            into=into,
        )


def refold(message_ids: Collection[UUID]) -> list[Change]:
    """Rebuild facts, decisions and statuses from the events, as after a corrected mapping. Never causes a send."""
    work = Record(message_ids)
    for row in work.messages.values():
        row.decisions = 0
        for attempt in row.tries:
            attempt.facts = Attempt(attempt.number)
    for message_id, number, learned in store.history_of(work.messages) if work.messages else ():
        _replay(work.messages[message_id], number, learned)
    for row in work.messages.values():
        work.fold(row)
    return work.save()


def _replay(row: MessageRow, number: int, learned: Fact | tuple[int, Decision]) -> None:
    if isinstance(learned, Fact):
        attempt = row.attempt(number)
        if attempt is not None:
            attempt.facts = learn(attempt.facts, learned)
        return
    place, decision = learned
    if place > row.decisions:
        row.decisions, row.decision, row.decided_after = place, decision, number
