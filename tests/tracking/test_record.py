"""`record` against real PostgreSQL: batches, order, repeats, metric deltas, locks, refolding."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.base import BounceClass, FailureClass
from providers.models import ProviderAccount
from tests.builders import make_account, make_project
from tests.tracking.lives import queue_message, status_of
from tracking import counters, ids, store
from tracking.models import Attempt, Event, Message, MetricDelta, Project, QueueRow, Suppression
from tracking.services import dispatch, record
from tracking.services.record import DISPATCH, Record, Source, refold
from tracking.statuses import Decision, Fact, FactKind, Status

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
RECEIPT = Source("provider", 1, ids.new(), {"word": "event"})
BUSY = Fact(FactKind.FAILED, NOON, FailureClass.TEMPORARY, code="421")
ACCEPTED = Fact(FactKind.ACCEPTED, NOON)


class Told(NamedTuple):
    """One receipt: of which message and attempt, what, and its key."""

    message: int
    attempt: int
    fact: Fact
    key: str


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def account(project: Project) -> ProviderAccount:
    return make_account(project)


@pytest.fixture
def waiting(project: Project, account: ProviderAccount) -> Callable[..., UUID]:
    """Makes a message that waits in the queue."""
    return lambda **kw: queue_message(project, account, **kw)


def take_off(message_id: UUID) -> None:
    QueueRow.objects.filter(pk=message_id).delete()


def attempt(message_id: UUID, account: ProviderAccount, fact: Fact | None = None, *then: Decision) -> None:
    """A hand-over of a message, what our call learned, and what was decided upon that."""
    with transaction.atomic():
        work = Record([message_id], now=NOON)
        row = work.messages[message_id]
        made = work.start_attempt(row, account_id=account.pk, idempotency_key="key")
        if fact:
            work.add_fact(row, made, fact, key=f"result:{made.number}", source=DISPATCH)
            work.learn()
        for decision in then:
            work.decide(row, decision, source=DISPATCH)
        work.save()


def tell(
    message_ids: Sequence[UUID], told: Iterable[Told], *, received_at: datetime | None = None
) -> list[record.Change]:
    """One batch of receipts, as receive records them."""
    told = list(told)
    with transaction.atomic():
        work = Record({message_ids[each.message] for each in told})
        for each in told:
            row = work.messages[message_ids[each.message]]
            made = row.attempt(each.attempt)
            assert made is not None
            work.add_fact(row, made, each.fact, key=each.key, source=RECEIPT, received_at=received_at or after(3600))
        return work.save()


def rows_of(message_id: UUID) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """The message, its attempts and its events, without what differs between any two messages."""

    def stripped(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name not in ("id", "message_id", "recorded_at")}

    message = Message.objects.filter(pk=message_id).values().get()
    attempts = Attempt.objects.filter(message_id=message_id).order_by("number").values()
    events = Event.objects.filter(message_id=message_id).exclude(number=1).order_by("dedupe_key").values()
    return stripped(message), [stripped(row) for row in attempts], [stripped(row) for row in events]


def stored_total() -> counters.Counts:
    rows = MetricDelta.objects.values_list(*counters.Bucket._fields, "counts")
    return counters.add((counters.Bucket(*bucket), counts) for *bucket, counts in rows)


def recounted() -> counters.Counts:
    counted = counters.none()
    with transaction.atomic():
        for row in store.lock_messages(list(Message.objects.values_list("pk", flat=True))).messages.values():
            record.count(row, 1, counted)
    return counters.by_bucket(counted)


@contextmanager
def taken_back() -> Iterator[None]:
    """One example of many: the next one finds an empty database."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def queued() -> set[UUID]:
    return set(QueueRow.objects.values_list("pk", flat=True))


# --- any split into batches, any order, any repetition


facts = st.builds(
    Fact,
    kind=st.sampled_from(FactKind),
    at=st.integers(-5, 5000).map(after),  # some before the attempt's start, some past the tolerated future
    failure=st.none() | st.sampled_from(FailureClass),
    bounce=st.none() | st.sampled_from(BounceClass),
    code=st.sampled_from(["", "550"]),
    text=st.sampled_from(["", "no such user"]),
    machine=st.booleans(),
)
receipts = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2), facts), min_size=1, max_size=12).map(
    lambda told: [Told(*each, f"receipt-{number}") for number, each in enumerate(told)]
)
with_database = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def twice_attempted(waiting: Callable[..., UUID], account: ProviderAccount) -> list[UUID]:
    """Three messages, each in the middle of its second attempt."""
    message_ids = [waiting() for _ in range(3)]
    for message_id in message_ids:
        attempt(message_id, account, BUSY, Decision.RETRY)
        attempt(message_id, account)
        take_off(message_id)
    return message_ids


@given(told=receipts, data=st.data())
@with_database
def test_any_split_and_order_gives_the_same_rows(
    waiting: Callable[..., UUID], account: ProviderAccount, told: list[Told], data: st.DataObject
) -> None:
    repeated = data.draw(st.permutations(told + data.draw(st.lists(st.sampled_from(told), max_size=6))))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(repeated)), max_size=4)) | {0, len(repeated)})
    with taken_back():
        straight, mixed = twice_attempted(waiting, account), twice_attempted(waiting, account)
        tell(straight, told)
        for start, end in pairwise(cuts):
            tell(mixed, repeated[start:end])
        assert [rows_of(one) for one in mixed] == [rows_of(one) for one in straight]
        assert stored_total() == recounted()


def test_the_same_key_counts_once_within_a_batch_and_after_it(
    waiting: Callable[..., UUID], account: ProviderAccount
) -> None:
    message_id = waiting()
    attempt(message_id, account, ACCEPTED)
    first = Told(0, 1, Fact(FactKind.DELIVERED, after(9)), "one")
    tell([message_id], [first, first._replace(fact=Fact(FactKind.READ, after(1)))])
    assert tell([message_id], [first._replace(fact=Fact(FactKind.READ, after(2)))]) == []
    message = Message.objects.get(pk=message_id)
    assert (message.status, message.delivered_at, message.read_at) == ("delivered", after(9), None)
    assert Event.objects.filter(message_id=message_id, source="provider").count() == 1


def test_times_are_held_to_what_can_be_and_the_raw_one_is_kept(
    waiting: Callable[..., UUID], account: ProviderAccount
) -> None:
    message_id = waiting()
    attempt(message_id, account, ACCEPTED)
    early, late = after(-60), after(86_400)
    with transaction.atomic():
        work = Record([message_id])
        row = work.messages[message_id]
        for key, at in (("early", early), ("late", late)):
            fact = Fact(FactKind.OPENED, at)
            work.add_fact(row, row.tries[0], fact, key=key, source=RECEIPT, said_at=at, received_at=after(60))
        work.save()
    kept = {e.dedupe_key: (e.occurred_at, e.said_at) for e in Event.objects.filter(message_id=message_id)}
    assert (kept["early"], kept["late"]) == ((NOON, early), (after(360), late))


# --- what follows from facts


def test_milestones_are_those_newly_reached(waiting: Callable[..., UUID], account: ProviderAccount) -> None:
    message_id = waiting()
    attempt(message_id, account)
    [change] = tell([message_id], [Told(0, 1, Fact(FactKind.READ, after(3)), "read")])
    assert (change.before, change.milestones) == (Status.PROCESSING, (Status.SENT, Status.DELIVERED, Status.READ))
    assert tell([message_id], [Told(0, 1, Fact(FactKind.COMPLAINED, after(4)), "spam")])[0].milestones == ()
    other = waiting()
    attempt(other, account, BUSY)
    hard = Fact(FactKind.BOUNCED, after(5), None, BounceClass.HARD)
    assert tell([other], [Told(0, 1, hard, "bounce")])[0].milestones == (Status.BOUNCED,)


def test_deltas_follow_a_message_from_account_to_account(
    waiting: Callable[..., UUID], account: ProviderAccount, project: Project
) -> None:
    message_id, other = waiting(), make_account(project)
    attempt(message_id, account, BUSY, Decision.RETRY)
    attempt(message_id, other, ACCEPTED)
    tell([message_id], [Told(0, 2, Fact(FactKind.DELIVERED, after(7)), "two")])
    tell([message_id], [Told(0, 1, Fact(FactKind.BOUNCED, after(8), None, BounceClass.HARD), "late bounce of one")])
    total = stored_total()
    assert total == recounted()
    by_account = {bucket.account_id: counts for bucket, counts in total.items() if "attempts_started" in counts}
    tried = {f"attempts_{each}": 1 for each in ("started", "accepted", "receipted")}
    assert by_account[account.pk] == {**tried, "attempts_bounced": 1, "attempts_bounced_hard": 1}
    assert by_account[other.pk] == {**tried, "attempts_delivered": 1}
    [(bucket, made)] = [(bucket, counts) for bucket, counts in total.items() if "created" in counts]
    assert bucket.account_id == other.pk
    [took] = [name for name in made if name.startswith("latency_")]
    low, high = (counters.EDGES[int(took[-2:]) + side] for side in (-1, 0))
    assert low <= 7 < high
    assert made == {"created": 1, "sent": 1, "delivered": 1, "delivery_ms": 7000, "timed": 1, took: 1}


@pytest.mark.parametrize(
    ("life", "counter"),
    [
        ([], "pending"),
        ([Decision.CANCEL], "cancelled"),
        ([Decision.EXPIRE], "expired"),
        ([Decision.SUPPRESS], "suppressed"),
        ([Decision.REJECT], "rejected"),
        ([None], "in_flight"),
        ([BUSY, Decision.RETRY], "in_flight"),
        ([BUSY, Decision.GIVE_UP], "failed"),
        ([BUSY, Decision.EXPIRE], "failed"),
        ([BUSY, Decision.CANCEL], "failed"),
        ([Fact(FactKind.OUTCOME_UNKNOWN, NOON)], "unknown"),
        ([ACCEPTED], "in_flight"),
        ([Fact(FactKind.BOUNCED, NOON)], "bounced"),
        ([Fact(FactKind.DELIVERED, NOON)], "delivered"),
        ([Fact(FactKind.READ, NOON)], "delivered"),
    ],
)
def test_each_message_is_counted_in_exactly_one_place(
    waiting: Callable[..., UUID], account: ProviderAccount, life: list[Any], counter: str
) -> None:
    message_id = waiting()
    decisions = [step for step in life if isinstance(step, Decision)]
    if life and not isinstance(life[0], Decision):
        attempt(message_id, account, life[0], *decisions)
    elif decisions:
        with transaction.atomic():
            work = Record([message_id])
            work.decide(work.messages[message_id], decisions[0], source=DISPATCH)
            work.save()
    [counts] = [c for b, c in stored_total().items() if "created" in c]
    exclusive = {"in_flight", "delivered", "failed", "bounced", "unknown"}
    never_sent = {"pending", "cancelled", "suppressed", "expired", "rejected"}
    assert {name for name in counts if name in exclusive | never_sent} == {counter}
    assert counts.get("sent", 0) == (counter in exclusive)
    assert stored_total() == recounted()


def test_a_bad_address_is_suppressed_once(waiting: Callable[..., UUID], account: ProviderAccount) -> None:
    message_id = waiting()
    for _ in range(2):
        with transaction.atomic():
            work = Record([message_id])
            work.suppress(work.messages[message_id], "hard_bounce", "email", "ada@example.com")
            work.save()
    assert [s.message_id for s in Suppression.objects.all()] == [message_id]


def test_what_is_rolled_back_leaves_nothing(waiting: Callable[..., UUID], account: ProviderAccount) -> None:
    message_id = waiting()
    attempt(message_id, account, ACCEPTED)
    before, total = rows_of(message_id), stored_total()
    with pytest.raises(RuntimeError), transaction.atomic():
        tell([message_id], [Told(0, 1, Fact(FactKind.DELIVERED, after(1)), "lost")])
        raise RuntimeError("the process dies here")
    assert (rows_of(message_id), stored_total()) == (before, total)
    tell([message_id], [Told(0, 1, Fact(FactKind.DELIVERED, after(1)), "lost")])  # delivered again: not a repeat
    assert status_of(message_id) == "delivered"


def test_a_message_that_is_not_there_is_not_locked_and_not_made() -> None:
    with transaction.atomic():
        work = Record([ids.new()])
        assert work.messages == {} and work.save() == []


# --- a retry that waits


def test_a_late_delivery_ends_a_waiting_retry_for_good(waiting: Callable[..., UUID], account: ProviderAccount) -> None:
    message_id = waiting()
    attempt(message_id, account, BUSY, Decision.RETRY)
    assert (status_of(message_id), queued()) == ("pending", {message_id})
    tell([message_id], [Told(0, 1, Fact(FactKind.DELIVERED, after(1)), "late")])
    assert (status_of(message_id), queued()) == ("delivered", set())
    # it bounces after all: that is its end, and nothing waits for a send that nobody will make
    tell([message_id], [Told(0, 1, Fact(FactKind.BOUNCED, after(2), None, BounceClass.HARD), "bounce")])
    assert (status_of(message_id), queued()) == ("bounced", set())
    decision = Event.objects.get(message_id=message_id, kind="followed")
    assert (decision.number, decision.attempt, decision.source) == (3, 1, "provider")
    assert stored_total() == recounted()


def test_an_answer_that_comes_after_all_takes_an_operators_retry_back(
    waiting: Callable[..., UUID], account: ProviderAccount
) -> None:
    message_id = waiting()
    attempt(message_id, account, Fact(FactKind.OUTCOME_UNKNOWN, NOON), Decision.OPERATOR_RETRY)
    tell([message_id], [Told(0, 1, ACCEPTED, "late")])
    assert (status_of(message_id), queued()) == ("sent", set())


def test_a_receipt_that_changes_nothing_leaves_the_retry_waiting(
    waiting: Callable[..., UUID], account: ProviderAccount
) -> None:
    message_id = waiting()
    attempt(message_id, account, BUSY, Decision.RETRY)
    kinds = (FactKind.OTHER, FactKind.DEFERRED, FactKind.FAILED, FactKind.BOUNCED, FactKind.COMPLAINED)
    tell([message_id], [Told(0, 1, Fact(kind, after(1)), kind) for kind in kinds])
    assert (status_of(message_id), queued()) == ("pending", {message_id})


@pytest.mark.django_db(transaction=True)
def test_a_claim_and_a_late_delivery_at_once_neither_wait_for_each_other_nor_send(
    waiting: Callable[..., UUID], account: ProviderAccount
) -> None:
    message_id = waiting()
    attempt(message_id, account, BUSY, Decision.RETRY)
    claimed, recorded = threading.Event(), threading.Event()
    handed_over: list[Any] = []

    def claim() -> None:
        try:
            with transaction.atomic():
                taken = QueueRow.objects.select_for_update().get(pk=message_id)
                claimed.set()
                recorded.wait(5)
                assert taken.lease_token is None
            handed_over.extend(dispatch.start(account.pk, 8))
        finally:
            connection.close()

    thread = threading.Thread(target=claim)
    thread.start()
    assert claimed.wait(5)
    tell([message_id], [Told(0, 1, Fact(FactKind.DELIVERED, after(1)), "late")])  # would wait here for ever
    assert queued() == {message_id}  # it is in the claim's hands
    recorded.set()
    thread.join(10)
    assert handed_over == [] and queued() == set()
    assert status_of(message_id) == "delivered"


# --- many at once


@pytest.mark.django_db(transaction=True)
def test_overlapping_batches_in_three_threads_do_not_deadlock(
    waiting: Callable[..., UUID], account: ProviderAccount
) -> None:
    message_ids = [waiting() for _ in range(30)]
    for message_id in message_ids:
        attempt(message_id, account, ACCEPTED)
        take_off(message_id)
    kinds = [FactKind.DELIVERED, FactKind.OPENED, FactKind.CLICKED]
    start, failed = threading.Barrier(3), []

    def work(lane: int) -> None:
        try:
            start.wait(10)
            for turn in range(12):
                order = message_ids[turn:] + message_ids[:turn]
                order = order[::-1] if lane % 2 else order  # the lanes go through the messages in opposite directions
                kind = kinds[(lane + turn) % 3]
                tell(order, [Told(n, 1, Fact(kind, after(turn)), f"{kind}-{turn % 4}") for n in range(20)])
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == [] and not any(thread.is_alive() for thread in threads)
    assert {status_of(message_id) for message_id in message_ids} == {"read"}
    assert stored_total() == recounted()


@pytest.mark.django_db(transaction=True)
def test_messages_are_locked_in_the_order_of_their_ids(waiting: Callable[..., UUID]) -> None:
    """While another holds the second of three, the first is locked already and the third is not yet."""
    first, second, third = sorted(waiting() for _ in range(3))
    trying = threading.Thread(target=_lock_all, args=([third, first, second],))

    def held(message_id: UUID) -> bool:
        found = Message.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=message_id)
        return not found.exists()

    with transaction.atomic():
        Message.objects.select_for_update(no_key=True).get(pk=second)
        trying.start()
        for _ in range(500):
            with transaction.atomic():
                waits = _waiting_for_locks()
            if waits:
                break
            threading.Event().wait(0.01)
        found = (held(first), held(third))
    trying.join(10)
    assert waits == 1 and found == (True, False)


def _lock_all(message_ids: list[UUID]) -> None:
    try:
        with transaction.atomic():
            Record(message_ids)
    finally:
        connection.close()


def _waiting_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees the same activity for ever
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


# --- refold


def lived(waiting: Callable[..., UUID], account: ProviderAccount) -> list[UUID]:
    """Messages with a history: retried, given up, read, bounced, cancelled, unknown, retried by an operator."""
    message_ids = [waiting() for _ in range(6)]
    attempt(message_ids[0], account, BUSY, Decision.RETRY)
    attempt(message_ids[0], account, ACCEPTED)
    tell(
        message_ids,
        [Told(0, 1, Fact(FactKind.DEFERRED, after(1)), "a"), Told(0, 2, Fact(FactKind.READ, after(9)), "b")],
    )
    attempt(message_ids[1], account, BUSY, Decision.RETRY)
    attempt(message_ids[1], account, BUSY, Decision.GIVE_UP)
    attempt(message_ids[2], account, ACCEPTED)
    tell(message_ids, [Told(2, 1, Fact(FactKind.BOUNCED, after(2), None, BounceClass.SOFT, "452", "full"), "c")])
    attempt(message_ids[3], account, BUSY, Decision.RETRY, Decision.CANCEL)
    attempt(message_ids[4], account, Fact(FactKind.OUTCOME_UNKNOWN, NOON, FailureClass.AMBIGUOUS))
    attempt(message_ids[5], account, Fact(FactKind.FAILED, NOON, FailureClass.BLOCKED), Decision.OPERATOR_RETRY)
    for message_id in message_ids[:5]:
        take_off(message_id)
    assert [status_of(m) for m in message_ids] == ["read", "failed", "bounced", "cancelled", "unknown", "pending"]
    return message_ids


def test_refold_rebuilds_the_same_rows(waiting: Callable[..., UUID], account: ProviderAccount) -> None:
    message_ids = lived(waiting, account)
    before, total = [rows_of(m) for m in message_ids], stored_total()
    assert refold(message_ids) == []
    assert ([rows_of(m) for m in message_ids], stored_total()) == (before, total)
    times = dict.fromkeys(store.FACT_TIMES)
    Attempt.objects.update(**times, failure=None, bounce=None, cause_at=None, code="", text="")
    Message.objects.update(status="pending", reason="", decision="queued", decisions=1, decided_after=0, read_at=None)
    refold(message_ids)
    assert [rows_of(m) for m in message_ids] == before
    assert queued() == {message_ids[5]}


remapped = st.lists(st.sampled_from([kind for kind in FactKind if kind is not FactKind.OUTCOME_UNKNOWN]), max_size=8)


@given(told=receipts, kinds=remapped)
@with_database
def test_a_corrected_mapping_changes_statuses_and_never_causes_a_send(
    waiting: Callable[..., UUID], account: ProviderAccount, told: list[Told], kinds: list[FactKind]
) -> None:
    right = [e._replace(fact=e.fact._replace(kind=k)) for e, k in zip(told, kinds, strict=False)] + told[len(kinds) :]
    with taken_back():
        message_ids, straight = twice_attempted(waiting, account), twice_attempted(waiting, account)
        tell(message_ids, told)
        for each in right:
            Event.objects.filter(message_id=message_ids[each.message], dedupe_key=each.key).update(kind=each.fact.kind)
        refold(message_ids)
        tell(straight, right)
        assert [rows_of(m) for m in message_ids] == [rows_of(m) for m in straight]
        assert queued() == set()
        assert stored_total() == recounted()


def test_a_corrected_mapping_takes_a_needless_retry_back(
    waiting: Callable[..., UUID], account: ProviderAccount
) -> None:
    message_id = waiting()
    attempt(message_id, account, BUSY, Decision.RETRY)
    tell([message_id], [Told(0, 1, Fact(FactKind.OTHER, after(1)), "a word without a mapping")])
    assert (status_of(message_id), queued()) == ("pending", {message_id})
    Event.objects.filter(message_id=message_id, kind="other").update(kind="delivered")
    refold([message_id])
    assert (status_of(message_id), queued()) == ("delivered", set())
    Event.objects.filter(message_id=message_id, kind="delivered").update(kind="other")
    refold([message_id])
    assert (status_of(message_id), queued()) == ("failed", set())  # corrected back: still nothing is sent by itself
    assert stored_total() == recounted()
