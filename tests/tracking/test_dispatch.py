"""Dispatch against real PostgreSQL and real sender threads: claim, hand over, finish, retry, expire, reap."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

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
from providers.models import Circuit
from tests.builders import make_account, make_project
from tests.tracking.lives import queue_message, status_of
from tracking import accounts, circuit, loops
from tracking.loops import Dispatcher
from tracking.models import Attempt, Content, Event, Message, QueueRow, Suppression, Switch
from tracking.services import dispatch, outcomes, reap, suppress
from tracking.services.handover import Outcome, hand_over

pytestmark = pytest.mark.django_db(transaction=True)


class Scripted(Provider):
    """A real adapter in this process, whose answers the test says beforehand."""

    kind = "scripted"
    channels = frozenset(Channel)
    timeout = 5.0
    script: Callable[[Outbound], SendResult] = staticmethod(lambda outbound: SendResult(f"ref-{outbound.echo}"))
    sent: list[Outbound] = []

    def send(self, outbound: Outbound) -> SendResult:
        self.sent.append(outbound)
        return type(self).script(outbound)


class Asked(Scripted):
    """Takes no idempotency key, but knows what it has."""

    kind = "asked"
    can_be_asked = True
    knows: list[str] = []

    def poll(self, outbound: Outbound, reference: str) -> list[Receipt]:
        return [Receipt(ReceiptKind.ACCEPTED, None, reference="found")] if outbound.echo in self.knows else []


class Keyed(Scripted):
    kind = "keyed"
    takes_idempotency_key = True


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    monkeypatch.setattr(Scripted, "sent", [])
    monkeypatch.setitem(registry.ADAPTERS, "scripted", f"{__name__}.Scripted")
    monkeypatch.setattr(Asked, "knows", [])
    monkeypatch.setitem(registry.ADAPTERS, "asked", f"{__name__}.Asked")
    monkeypatch.setitem(registry.ADAPTERS, "keyed", f"{__name__}.Keyed")
    accounts.forget()
    return Scripted


def fails(failure: FailureClass, *, times: int = 1_000_000, retry_after: float | None = None, **kw: Any) -> Any:
    calls = {"left": times}
    lock = threading.Lock()

    def script(outbound: Outbound) -> SendResult:
        with lock:
            calls["left"] -= 1
            left = calls["left"]
        if left >= 0:
            raise ProviderError("no", classification=Classification(failure, **kw), code="X1", retry_after=retry_after)
        return SendResult("ref-" + outbound.echo)

    return staticmethod(script)


def run(steps: int = 200, *, until: Callable[[], bool] | None = None) -> None:
    """Drive a dispatcher until the queue is empty (or `until`), without a process of its own."""
    dispatcher = Dispatcher()
    done = until or (lambda: not QueueRow.objects.exists())
    for _ in range(steps):
        dispatcher.step()
        if done() and not dispatcher.in_flight:
            break
        threading.Event().wait(0.01)
    dispatcher.drain(5)


def make_due(message_id: UUID) -> None:
    QueueRow.objects.filter(pk=message_id).update(due_at=datetime.now(UTC))


def test_a_message_is_sent_and_its_attempt_is_on_record() -> None:
    project = make_project()
    account = make_account(project, kind="scripted")
    message_id = queue_message(project, account)
    run()
    message, attempt = Message.objects.get(pk=message_id), Attempt.objects.get(message_id=message_id)
    assert (message.status, message.attempts, message.reference) == ("sent", 1, f"ref-{message_id}.1")
    assert attempt.reference == f"ref-{message_id}.1"
    assert attempt.started_at <= attempt.accepted_at == message.sent_at <= attempt.finished_at
    assert Scripted.sent[0].idempotency_key == f"{message_id}:0:0"
    assert not QueueRow.objects.exists()


def test_copies_that_are_suppressed_are_left_out_and_said() -> None:
    project = make_project()
    account = make_account(project, kind="scripted")
    suppress.add([suppress.Entry(project.pk, "email", "eve@example.org", "complaint")])
    copies = {"cc": ["Eve <EVE@example.org>", "bob@example.org"], "bcc": ["eve@example.org"]}
    message_id = queue_message(project, account, body={"text": "Hello", **copies})
    run()
    (outbound,) = Scripted.sent
    assert (outbound.cc, outbound.bcc) == (("bob@example.org",), ())
    notes = Event.objects.filter(message_id=message_id, dedupe_key__startswith="note:")
    assert [note.text for note in notes] == ["no copy went to eve@example.org: on the suppression list"]


def test_an_outcome_that_cannot_be_recorded_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    account = make_account(project, kind="scripted")
    bad, *good = [queue_message(project, account) for _ in range(3)]
    finish = outcomes.finish

    def broken(outcomes: Sequence[Outcome]) -> None:
        if any(outcome.handover.message_id == bad for outcome in outcomes):
            raise TypeError("a bug")
        finish(outcomes)

    monkeypatch.setattr(outcomes, "finish", broken)
    run(until=lambda: len(Scripted.sent) == 3 and all(status_of(key) == "sent" for key in good))
    assert [status_of(key) for key in (bad, *good)] == ["processing", "sent", "sent"]


def test_the_attempt_is_committed_before_the_provider_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    message_id = queue_message(project, make_account(project, kind="scripted"))
    seen: list[tuple[int, str]] = []

    def look(outbound: Outbound) -> SendResult:  # another connection: the sender thread's own
        seen.append((Attempt.objects.filter(message_id=message_id).count(), status_of(message_id)))
        connection.close()
        return SendResult("r")

    monkeypatch.setattr(Scripted, "script", staticmethod(look))
    run()
    assert seen == [(1, "processing")]


def test_temporary_failures_are_retried_with_growing_delay_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "script", fails(FailureClass.TEMPORARY))
    project = make_project(retry={"max_attempts": 3, "initial_delay": 0.01, "max_delay": 0.02})
    message_id = queue_message(project, make_account(project, kind="scripted"))
    run(1000)
    message = Message.objects.get(pk=message_id)
    assert (message.status, message.reason, message.attempts) == ("failed", "attempts_exhausted", 3)
    kinds = list(Event.objects.filter(message_id=message_id).order_by("recorded_at").values_list("kind", flat=True))
    assert kinds.count("retry_scheduled") == 2 and kinds.count("gave_up") == 1 and kinds.count("failed") == 3


def test_retry_after_wins_and_holds_the_account_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "script", fails(FailureClass.RATE_LIMIT, times=1, retry_after=30.0))
    project = make_project()
    account = make_account(project, kind="scripted", max_in_flight=1)
    first, second = queue_message(project, account), queue_message(project, account)
    run(30, until=lambda: bool(Scripted.sent))
    due = QueueRow.objects.get(pk=first).due_at - datetime.now(UTC)
    assert timedelta(seconds=25) < due < timedelta(seconds=31)
    assert status_of(first) == "pending" and Message.objects.get(pk=second).attempts == 0
    assert Circuit.objects.get(pk=account.pk).next_slot_at > datetime.now(UTC) + timedelta(seconds=20)


@pytest.mark.parametrize(
    ("failure", "suppress"),
    [(FailureClass.PERMANENT, False), (FailureClass.INVALID_RECIPIENT, True), (FailureClass.BLOCKED, False)],
)
def test_final_failures_are_not_retried(monkeypatch: pytest.MonkeyPatch, failure: FailureClass, suppress: bool) -> None:
    monkeypatch.setattr(
        Scripted,
        "script",
        fails(failure, suppress=suppress, bounce=BounceClass.HARD if suppress else BounceClass.BLOCK),
    )
    project = make_project()
    message_id = queue_message(project, make_account(project, kind="scripted"))
    run()
    message = Message.objects.get(pk=message_id)
    assert (message.status, message.reason, message.attempts) == ("failed", failure.value, 1)
    assert Suppression.objects.filter(project=project).exists() is suppress


def test_an_unknown_outcome_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "script", fails(FailureClass.AMBIGUOUS))
    project = make_project()
    message_id = queue_message(project, make_account(project, kind="scripted"))
    run()
    assert status_of(message_id) == "unknown" and len(Scripted.sent) == 1


def test_with_an_idempotency_key_an_unknown_outcome_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "script", fails(FailureClass.AMBIGUOUS, times=1))
    project = make_project(retry={"initial_delay": 0})
    message_id = queue_message(project, make_account(project, kind="keyed"))
    run()
    assert status_of(message_id) == "sent"
    assert [o.idempotency_key for o in Scripted.sent] == [f"{message_id}:0:0"] * 2


def test_a_broken_adapter_leaves_an_unknown_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(outbound: Outbound) -> SendResult:
        raise RuntimeError("boom")

    monkeypatch.setattr(Scripted, "script", staticmethod(broken))
    project = make_project()
    message_id = queue_message(project, make_account(project, kind="scripted"))
    run()
    assert status_of(message_id) == "unknown"
    assert "boom" in Event.objects.get(message_id=message_id, kind="outcome_unknown").text


def test_a_fault_of_the_account_opens_its_circuit_and_spares_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "script", fails(FailureClass.PERMANENT, account_fault=True))
    project = make_project(retry={"initial_delay": 0})
    account = make_account(project, kind="scripted", max_in_flight=1)
    messages = [queue_message(project, account) for _ in range(3)]
    run(50, until=lambda: Circuit.objects.filter(pk=account.pk, open_until__isnull=False).exists())
    run(20)
    assert len(Scripted.sent) == circuit.FAULTS
    assert {status_of(m) for m in messages} == {"pending"}


def test_failures_at_the_same_moment_open_a_circuit_once() -> None:
    account = make_account(make_project(), kind="scripted")
    error = ProviderError("no answer", classification=Classification(FailureClass.AMBIGUOUS))
    circuit.learn([(account.pk, error)] * 24)
    opened = Circuit.objects.get(pk=account.pk)
    assert (opened.open_until - opened.opened_at).total_seconds() == pytest.approx(circuit.OPEN_FOR, abs=1)
    Circuit.objects.update(opened_at=opened.opened_at - timedelta(seconds=100))
    circuit.learn([(account.pk, error)])  # a probe, long afterwards
    again = Circuit.objects.get(pk=account.pk)
    assert (again.open_until - opened.opened_at).total_seconds() == pytest.approx(100, abs=1)


def test_the_death_of_our_workers_is_not_held_against_the_account() -> None:
    project = make_project()
    account = make_account(project, kind="keyed", max_in_flight=20)
    messages = [queue_message(project, account) for _ in range(20)]
    assert len(dispatch.start(account.pk, 20)) == 20  # the worker dies here
    QueueRow.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
    reap.orphans()
    assert {status_of(message) for message in messages} == {"pending"}
    assert not Circuit.objects.filter(pk=account.pk, open_until__isnull=False).exists()


def test_a_hanging_account_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def script(outbound: Outbound) -> SendResult:
        if outbound.recipient.startswith("slow"):
            release.wait(10)
        return SendResult("r-" + outbound.echo)

    monkeypatch.setattr(Scripted, "script", staticmethod(script))
    project = make_project()
    hanging, fine = make_account(project, kind="scripted"), make_account(project, kind="scripted")
    stuck = [queue_message(project, hanging, recipient="slow@example.com") for _ in range(20)]
    good = [queue_message(project, fine) for _ in range(20)]
    dispatcher = Dispatcher()
    for _ in range(200):
        dispatcher.step()
        if all(status_of(m) == "sent" for m in good):
            break
        threading.Event().wait(0.01)
    assert {status_of(m) for m in good} == {"sent"}
    assert [status_of(m) for m in stuck].count("processing") == hanging.max_in_flight
    release.set()
    dispatcher.drain(5)


def in_flight_of_two_loops(monkeypatch: pytest.MonkeyPatch, *, cap: int) -> tuple[int, int]:
    """How many hand-overs each has under way when both have had their turns, and nothing ends."""
    release = threading.Event()
    monkeypatch.setattr(Scripted, "script", staticmethod(lambda o: (release.wait(10), SendResult("r"))[1]))
    project = make_project()
    account = make_account(project, kind="scripted", max_in_flight=cap)
    for _ in range(10):
        queue_message(project, account)
    one, two = Dispatcher(), Dispatcher()
    for _ in range(5):
        one.step()
        two.step()
    found = one.in_flight, two.in_flight
    release.set()
    one.drain(5)
    two.drain(5)
    return found


def test_the_in_flight_cap_holds_over_all_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(in_flight_of_two_loops(monkeypatch, cap=3)) == 3


def test_loops_share_an_account_instead_of_one_keeping_it_full(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.DISPATCH_LOOPS = 2
    assert in_flight_of_two_loops(monkeypatch, cap=5) == (3, 2)


def test_priority_then_due_time() -> None:
    project = make_project()
    account = make_account(project, kind="scripted", max_in_flight=1)
    low = queue_message(project, account, priority=9)
    high = queue_message(project, account, priority=1)
    run()
    assert [o.echo for o in Scripted.sent] == [f"{high}.1", f"{low}.1"]


def test_the_rate_limit_spreads_hand_overs() -> None:
    project = make_project()
    account = make_account(project, kind="scripted", rate_per_second=20)
    for _ in range(12):
        queue_message(project, account)
    started = datetime.now(UTC)
    run(1000)
    took = (datetime.now(UTC) - started).total_seconds()
    assert len(Scripted.sent) == 12 and took >= 0.45  # 12 at 20 a second, two of them at once


def test_paused_sending_and_paused_project_hold_messages() -> None:
    project, other = make_project(paused=True), make_project()
    account = make_account(project, kind="scripted")
    held, free = queue_message(project, account), queue_message(other, account)
    run(20)
    assert (status_of(held), status_of(free)) == ("pending", "sent")
    project.paused = False
    project.save()
    Switch.objects.create(sending_paused=True)
    run(20)
    assert status_of(held) == "pending"
    Switch.objects.update(sending_paused=False)
    run()
    assert status_of(held) == "sent"


def test_scheduled_waits_and_expired_ends() -> None:
    now = datetime.now(UTC)
    project = make_project()
    account = make_account(project, kind="scripted", enabled=False)
    later = queue_message(project, account, due_at=now + timedelta(hours=1))
    late = queue_message(project, account, expires_at=now - timedelta(seconds=1))
    assert reap.expire() == 1
    assert (status_of(later), status_of(late)) == ("pending", "failed")
    assert Message.objects.get(pk=late).reason == "expired"
    assert list(QueueRow.objects.values_list("pk", flat=True)) == [later]


def test_what_was_purged_before_it_could_be_sent_is_rejected() -> None:
    project = make_project()
    message_id = queue_message(project, make_account(project, kind="scripted"))
    Content.objects.filter(pk=message_id).delete()
    run()
    assert (status_of(message_id), Message.objects.get(pk=message_id).reason) == ("failed", "rejected")
    assert Scripted.sent == []


@pytest.mark.parametrize(("kind", "status", "left"), [("scripted", "unknown", 0), ("keyed", "pending", 1)])
def test_a_lease_that_ran_out_is_reaped(kind: str, status: str, left: int) -> None:
    project = make_project()
    account = make_account(project, kind=kind)
    message_id = queue_message(project, account)
    [handover] = dispatch.start(account.pk, 8)  # the worker dies here: nothing is handed over, nothing reported
    reap.orphans()
    assert status_of(message_id) == "processing"
    QueueRow.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
    assert reap.orphans() == []
    assert status_of(message_id) == status
    assert QueueRow.objects.filter(lease_token=None).count() == left
    # what the attempt learned is recorded, however late, and resolves the unknown outcome
    outcomes.finish([hand_over(handover)])
    assert status_of(message_id) == "sent"
    assert not QueueRow.objects.exists()


def test_a_crash_loop_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message whose hand-over kills the worker each time is parked after its attempts."""
    project = make_project(retry={"initial_delay": 0, "max_attempts": 3})
    account = make_account(project, kind="keyed")
    message_id = queue_message(project, account)
    for _ in range(3):
        make_due(message_id)
        assert len(dispatch.start(account.pk, 8)) == 1
        QueueRow.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
        reap.orphans()
    message = Message.objects.get(pk=message_id)
    assert (message.status, message.attempts) == ("unknown", 3)
    assert not QueueRow.objects.exists()


def test_an_expired_lease_fences_the_queue_row_only() -> None:
    project = make_project()
    account = make_account(project, kind="keyed")
    message_id = queue_message(project, account)
    [late] = dispatch.start(account.pk, 8)
    QueueRow.objects.update(lease_token=uuid4())  # another worker holds it by now
    outcomes.finish([hand_over(late)])
    assert QueueRow.objects.filter(pk=message_id).exists()
    assert status_of(message_id) == "sent"


@pytest.mark.parametrize("known", [True, False])
def test_a_provider_that_can_be_asked_is_asked_after_a_crash(known: bool) -> None:
    project = make_project(retry={"initial_delay": 0})
    account = make_account(project, kind="asked")
    message_id = queue_message(project, account)
    dispatch.start(account.pk, 8)  # the worker dies here
    QueueRow.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
    Asked.knows.extend([f"{message_id}.1"] if known else [])
    dispatcher = Dispatcher()
    dispatcher.reap()
    dispatcher.drain(5)
    message = Message.objects.get(pk=message_id)
    assert (message.status, message.reference) == (("sent", "found") if known else ("pending", ""))
    assert QueueRow.objects.exists() is not known
    assert Scripted.sent == []


def test_what_hand_overs_learned_outlasts_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's connections end while a hand-over is under way, as when PostgreSQL is restarted."""

    def script(outbound: Outbound) -> SendResult:
        with connection.cursor() as cursor:  # the sender thread's own
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            assert cursor.fetchone()[0] >= 2  # the loop's and its listener's
        connection.close()
        return SendResult("taken")

    monkeypatch.setattr(Scripted, "script", staticmethod(script))
    project = make_project()
    message_id = queue_message(project, make_account(project, kind="scripted"))
    handed_on: list[str] = []
    assert loops.run_dispatch(0, seconds=2, others=lambda: None, handing_on=lambda: handed_on.append("next"))
    assert (status_of(message_id), handed_on) == ("sent", ["next"])
    assert len(Scripted.sent) == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_provider_that_can_be_asked_is_asked_after_a_lost_answer(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setattr(Scripted, "script", fails(FailureClass.AMBIGUOUS, times=1))
    project = make_project(retry={"initial_delay": 0})
    message_id = queue_message(project, make_account(project, kind="asked"))
    Asked.knows.extend([f"{message_id}.1"] if known else [])
    run()
    assert (status_of(message_id), len(Scripted.sent)) == ("sent", 1 if known else 2)
