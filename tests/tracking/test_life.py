"""Whole lives of messages, step by step, through the real services and PostgreSQL, against a small model.

The model keeps bare facts, decisions and one word for the queue; it shares no code with what it checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from providers import registry
from providers.base import (
    BounceClass,
    Channel,
    Classification,
    FailureClass,
    Outbound,
    Provider,
    ProviderError,
    Receipt,
    ReceiptKind,
    SendResult,
)
from tests.builders import make_account, make_project
from tests.tracking.lives import queue_message
from tracking import accounts, circuit, ids
from tracking.models import Attempt, Content, Event, Message, MetricDelta, QueueRow
from tracking.services import act, check, dispatch, outcomes, reap, receipts
from tracking.services.handover import Handover, Outcome
from tracking.services.record import Source

pytestmark = pytest.mark.django_db(transaction=True)

MAX_ATTEMPTS = 3
SEND = {"queued", "retry_scheduled", "operator_retry"}
READ = {"opened", "clicked", "read"}
OPERATOR = Source("admin")
Told = tuple[str, int, bool]  # kind, seconds after the attempt's start, hard


class Silent(Provider):
    """Takes no idempotency key and cannot be asked: what is not known stays unknown. Never really called here."""

    kind = "silent"
    channels = frozenset(Channel)
    timeout = 5.0

    def send(self, outbound: Outbound) -> SendResult:
        raise AssertionError("this test ends its hand-overs itself")


class Crash(Exception):
    """The process dies before its transaction commits."""


@dataclass
class Life:
    """What must be true of one message."""

    attempts: list[set[Told]] = field(default_factory=list)
    decision: str = "queued"
    decided_after: int = 0
    budget_from: int = 0
    queue: str = "waiting"  # waiting, leased or empty
    expired: bool = False
    suppressed: bool = False  # its recipient

    def attempt_status(self, told: set[Told]) -> str:
        kinds = {kind for kind, _, _ in told}
        delivered = min((at for kind, at, _ in told if kind == "delivered"), default=None)
        hard = max((at for kind, at, is_hard in told if kind == "bounced" and is_hard), default=None)
        if kinds & READ:
            return "read"
        if delivered is not None and (hard is None or hard < delivered):
            return "delivered"
        for kind, status in (("bounced", "bounced"), ("failed", "failed"), ("accepted", "sent"), ("lost", "unknown")):
            if kind in kinds:
                return status
        return "processing"

    @property
    def wants_send(self) -> bool:
        return self.decision in SEND and self.decided_after == len(self.attempts)

    @property
    def status(self) -> str:
        statuses = [self.attempt_status(told) for told in self.attempts]
        for status in ("read", "delivered", "sent", "processing"):
            if status in statuses:
                return status
        if self.wants_send:
            return "pending"
        if "unknown" in statuses:
            return "unknown"
        if self.decision == "cancelled":
            return "cancelled"
        return "bounced" if statuses and statuses[-1] == "bounced" else "failed"

    def decide(self, decision: str) -> None:
        self.decision, self.decided_after = decision, len(self.attempts)

    def tell(self, number: int, told: Told) -> None:
        self.attempts[number - 1].add(told)

    def settle(self) -> None:
        """What shows a message on its way ends a retry that waits."""
        if self.wants_send and self.status in ("sent", "delivered", "read"):
            self.decide("followed")
            self.queue = "empty"

    def end(self, number: int, told: Told, *, temporary: bool, held: bool) -> None:
        """A hand-over ended; `held`: under its own lease still."""
        self.tell(number, told)
        if held:
            self.queue = "empty"
        if temporary and number == len(self.attempts) and self.status in ("failed", "unknown"):
            again = len(self.attempts) - self.budget_from < MAX_ATTEMPTS
            if again:
                self.queue = "waiting"
            if again or self.status == "failed":
                self.decide("retry_scheduled" if again else "gave_up")
        self.settle()


endings = st.sampled_from(["accepted", "temporary", "permanent", "lost"])
kinds = st.sampled_from([kind for kind in ReceiptKind if kind is not ReceiptKind.DEFERRED])
crashes = st.sampled_from([False, False, False, True])


class Lives(RuleBasedStateMachine):
    """At most four messages of one account, so that they meet each other in batches."""

    def __init__(self) -> None:
        super().__init__()
        self.project = make_project(retry={"max_attempts": MAX_ATTEMPTS, "initial_delay": 0})
        self.account = make_account(self.project, kind="silent")
        accounts.forget()  # those of the example before
        self.lives: dict[UUID, Life] = {}
        self.running: dict[UUID, Handover] = {}  # under a lease
        self.lost: list[Handover] = []  # reaped; their holder may come back
        self.handovers: list[Handover] = []  # all
        self.receipts: list[tuple[Handover, Receipt]] = []

    def teardown(self) -> None:
        for model in (Message, Content, Attempt, Event, MetricDelta, QueueRow):
            model._default_manager.all().delete()

    @contextmanager
    def step(self, crash: bool) -> Iterator[None]:
        """One transaction of a process, which may die before it commits."""
        try:
            with transaction.atomic():
                yield
                if crash:
                    raise Crash
        except Crash:
            pass

    # --- what may happen

    @initialize()
    def begin(self) -> None:
        self.create(crash=False)
        self.create(crash=False)

    @rule(
        data=st.data(), crash=crashes, what=st.sampled_from(["create", "retry", "retry", "retry", "cancel", "expire"])
    )
    def somebody_acts(self, data: st.DataObject, crash: bool, what: str) -> None:
        """One rule for all that people do, so that providers and workers have their turns as well."""
        if what == "create" and len(self.lives) < 4:
            self.create(crash)
        elif what == "cancel":
            self.cancel(data.draw(st.sampled_from(list(self.lives))), crash)
        elif what == "expire":
            self.expire(data.draw(st.sampled_from(list(self.lives))), crash)
        else:
            self.retry(data.draw(st.sampled_from(list(self.lives))), crash)

    def create(self, crash: bool) -> None:
        with self.step(crash):
            message_id = queue_message(self.project, self.account, recipient=f"r{len(self.lives)}@example.com")
        if not crash:
            self.lives[message_id] = Life()

    @precondition(lambda self: any(life.queue == "waiting" for life in self.lives.values()))
    @rule(crash=crashes, ending=st.none() | endings)
    def claim(self, crash: bool, ending: str | None) -> None:
        """What waits is handed over; all of it may end at once, in the same way."""
        with self.step(crash):
            handovers = dispatch.start(self.account.pk, 8)
        waiting = [key for key, life in self.lives.items() if life.queue == "waiting"]
        stopped = {key for key in waiting if self.lives[key].expired or self.lives[key].suppressed}
        assert {handover.message_id for handover in handovers} == set(waiting) - stopped
        if not crash:
            for key in stopped:
                self.lives[key].decide("expired" if self.lives[key].expired else "suppressed")
                self.lives[key].queue = "empty"
            for handover in sorted(handovers, key=lambda handover: waiting.index(handover.message_id)):
                life = self.lives[handover.message_id]
                life.queue = "leased"
                life.attempts.append(set())
                assert handover.number == len(life.attempts)
                self.running[handover.message_id] = handover
                self.handovers.append(handover)
            if ending:
                self._end([(handover, ending) for handover in handovers], crash=False)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), crash=crashes)
    def hand_overs_end(self, data: st.DataObject, crash: bool) -> None:
        chosen = data.draw(st.lists(st.sampled_from(list(self.running)), min_size=1, unique=True))
        self._end([(self.running[key], data.draw(endings)) for key in chosen], crash)

    def _end(self, ended: list[tuple[Handover, str]], crash: bool) -> None:
        with self.step(crash):
            outcomes.finish([_outcome(handover, ending) for handover, ending in ended])
        if not crash:
            for handover, ending in ended:
                del self.running[handover.message_id]
                self._ended(handover, ending, held=True)

    @precondition(lambda self: self.lost)
    @rule(data=st.data(), ending=endings, crash=crashes)
    def a_late_outcome_comes(self, data: st.DataObject, ending: str, crash: bool) -> None:
        handover = data.draw(st.sampled_from(self.lost))
        with self.step(crash):
            outcomes.finish([_outcome(handover, ending)])
        if not crash:
            self.lost.remove(handover)
            self._ended(handover, ending, held=False)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.running)))
        QueueRow.objects.filter(pk=key).update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
        assert reap.orphans() == []
        handover = self.running.pop(key)
        self.lost.append(handover)
        self._ended(handover, "lost", held=True)

    def _ended(self, handover: Handover, ending: str, *, held: bool) -> None:
        kind = {"accepted": "accepted", "lost": "lost"}.get(ending, "failed")
        life = self.lives[handover.message_id]
        life.end(handover.number, (kind, 0, False), temporary=ending == "temporary", held=held)
        circuit.reset(self.account.pk)

    @precondition(lambda self: len(self.receipts) < 2 * len(self.handovers))
    @rule(data=st.data(), crash=crashes)
    def receipts_come(self, data: st.DataObject, crash: bool) -> None:
        """New ones and repeated ones, of running, lost and ended hand-overs, in one batch."""
        batch = []
        for _ in range(data.draw(st.integers(1, 3))):
            if self.receipts and data.draw(st.booleans()):
                batch.append(data.draw(st.sampled_from(self.receipts)))
            else:
                batch.append(self._receipt(data, data.draw(st.sampled_from(self.handovers))))
        now = datetime.now(UTC)
        items = [
            receipts.Item(ids.new(), number, self.account.pk, now + timedelta(hours=1), receipt)
            for number, (_, receipt) in enumerate(batch)
        ]
        with self.step(crash):
            receipts.apply(items)
        assert [item.why for item in items] == [""] * len(items)
        if not crash:
            self.receipts += batch
            for handover, receipt in batch:
                life = self.lives[handover.message_id]
                life.tell(handover.number, _told(handover, receipt))
                life.suppressed |= receipt.kind in (ReceiptKind.COMPLAINED, ReceiptKind.UNSUBSCRIBED)
            for handover, _ in batch:
                self.lives[handover.message_id].settle()

    def _receipt(self, data: st.DataObject, handover: Handover) -> tuple[Handover, Receipt]:
        kind = data.draw(kinds)
        receipt = Receipt(
            kind,
            _started(handover) + timedelta(seconds=data.draw(st.integers(0, 3))),
            echo=handover.outbound.echo,
            word=str(kind),
            bounce=data.draw(st.sampled_from(BounceClass)) if kind is ReceiptKind.BOUNCED else None,
            failure=FailureClass.PERMANENT if kind is ReceiptKind.FAILED else None,
        )
        return handover, receipt

    def retry(self, key: UUID, crash: bool) -> None:
        life = self.lives[key]
        listed = life.suppressed and (life.status, life.decision) == ("failed", "suppressed")
        ended = life.status in ("failed", "bounced", "unknown") and life.queue == "empty"
        allowed = ended and not life.expired and not listed
        self._act(lambda: act.retry(key, source=OPERATOR), allowed, crash)
        if allowed and not crash:
            life.decide("operator_retry")
            life.budget_from, life.queue = len(life.attempts), "waiting"

    def cancel(self, key: UUID, crash: bool) -> None:
        life = self.lives[key]
        allowed = life.queue == "waiting"
        self._act(lambda: act.cancel(key, source=OPERATOR), allowed, crash)
        if allowed and not crash:
            life.decide("cancelled")
            life.queue = "empty"

    def _act(self, action: Callable[[], None], allowed: bool, crash: bool) -> None:
        with self.step(crash):
            if allowed:
                action()
            else:
                with pytest.raises(act.Refused):
                    action()

    def expire(self, key: UUID, crash: bool) -> None:
        past = datetime.now(UTC) - timedelta(seconds=1)
        Message.objects.filter(pk=key).update(expires_at=past)
        QueueRow.objects.filter(pk=key).update(expires_at=past)
        self.lives[key].expired = True
        with self.step(crash):
            reap.expire()
        if not crash:
            for life in self.lives.values():
                if life.expired and life.queue == "waiting":
                    life.decide("expired")
                    life.queue = "empty"

    # --- what must hold after each step

    @invariant()
    def the_status_is_the_models(self) -> None:
        rows = {row.pk: row for row in Message.objects.all()}
        assert set(rows) == set(self.lives)
        for key, life in self.lives.items():
            row = rows[key]
            assert (row.status, row.decision, row.attempts) == (life.status, life.decision, len(life.attempts))
            times = [time for time in (row.sent_at, row.delivered_at, row.read_at) if time]
            assert times == sorted(times)
            assert (row.delivered_at is not None) is (life.status in ("delivered", "read"))

    @invariant()
    def a_queue_row_is_there_exactly_while_a_send_is_wanted(self) -> None:
        rows = {row.pk: "leased" if row.lease_token else "waiting" for row in QueueRow.objects.all()}
        assert rows == {key: life.queue for key, life in self.lives.items() if life.queue != "empty"}

    @invariant()
    def the_recount_agrees(self) -> None:
        assert [str(difference) for difference in check.differences()] == []


def _started(handover: Handover) -> datetime:
    return Attempt.objects.get(message_id=handover.message_id, number=handover.number).started_at


def _told(handover: Handover, receipt: Receipt) -> Told:
    assert receipt.occurred_at is not None
    seconds = round((receipt.occurred_at - _started(handover)).total_seconds())
    return receipt.kind.value, seconds, receipt.bounce is BounceClass.HARD


def _outcome(handover: Handover, ending: str) -> Outcome:
    now = datetime.now(UTC)
    if ending == "accepted":
        return Outcome(handover, now, result=SendResult(f"ref-{handover.outbound.echo}"))
    failure = {
        "temporary": FailureClass.TEMPORARY,
        "permanent": FailureClass.PERMANENT,
        "lost": FailureClass.AMBIGUOUS,
    }[ending]
    return Outcome(handover, now, error=ProviderError("no", classification=Classification(failure)))


def test_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "RECHECK_AFTER", timedelta(0))  # of the suppression list: always, not after a while
    monkeypatch.setitem(registry.ADAPTERS, "silent", f"{__name__}.Silent")
    bounded: Any = settings(
        max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Lives, settings=bounded)


def test_a_failure_told_after_the_lease_ran_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of `Lives` in the order that once left a message pending for ever, with nothing in the queue."""
    monkeypatch.setitem(registry.ADAPTERS, "silent", f"{__name__}.Silent")
    accounts.forget()
    project = make_project(retry={"initial_delay": 0})
    account = make_account(project, kind="silent")
    message_id = queue_message(project, account, expires_at=datetime.now(UTC) + timedelta(hours=1), priority=2)
    [handover] = dispatch.start(account.pk, 1)
    QueueRow.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
    reap.orphans()
    assert (Message.objects.get(pk=message_id).status, QueueRow.objects.count()) == ("unknown", 0)
    outcomes.finish([_outcome(handover, "temporary")])
    assert Message.objects.get(pk=message_id).status == "pending"
    row = QueueRow.objects.get(pk=message_id)
    assert (row.project_id, row.account_id, row.priority) == (project.pk, account.pk, 2)
    assert row.lease_token is None and row.expires_at is not None
    assert [again.number for again in dispatch.start(account.pk, 1)] == [2]


def test_a_lease_of_an_account_that_is_gone_ends_unknown() -> None:
    project = make_project()
    account = make_account(project)
    message_id = queue_message(project, account)
    assert len(dispatch.start(account.pk, 1)) == 1
    account.delete()
    accounts.forget()
    QueueRow.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
    assert reap.orphans() == []
    assert (Message.objects.get(pk=message_id).status, QueueRow.objects.count()) == ("unknown", 0)
    assert list(check.differences()) == []
