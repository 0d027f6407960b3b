"""The fold, without a database: any order and any repetition of the same facts gives the same status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import BounceClass, FailureClass
from tests.tracking import status_table
from tracking.statuses import (
    DECISION_REASON,
    OPEN,
    SEND_WANTED,
    Attempt,
    Decision,
    Fact,
    FactKind,
    Reason,
    Status,
    attempt_status,
    fold,
    learn,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HUMAN = {FactKind.OPENED, FactKind.CLICKED, FactKind.READ}

moments = st.integers(0, 6).map(lambda seconds: NOON + timedelta(seconds=seconds))  # few, so that many are equal
facts = st.builds(
    Fact,
    kind=st.sampled_from(FactKind),
    at=moments,
    failure=st.none() | st.sampled_from(FailureClass),
    bounce=st.none() | st.sampled_from(BounceClass),
    code=st.sampled_from(["", "550", "421"]),
    text=st.sampled_from(["", "no such user"]),
    machine=st.booleans(),
)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def learned(*told: Fact, number: int = 1) -> Attempt:
    return reduce(learn, told, Attempt(number))


# --- learn: a join


@given(st.lists(facts, max_size=8), st.data())
def test_order_and_repetition_of_facts_do_not_matter(told: list[Fact], data: st.DataObject) -> None:
    repeated = told + (data.draw(st.lists(st.sampled_from(told), max_size=8)) if told else [])
    assert learned(*data.draw(st.permutations(repeated))) == learned(*told)


@given(st.lists(facts, max_size=5), facts)
def test_what_is_known_only_grows(told: list[Fact], fact: Fact) -> None:
    before, after = learned(*told), learned(*told, fact)
    for name in Attempt._fields:
        known, now = getattr(before, name), getattr(after, name)
        if isinstance(known, datetime) and name != "cause_at":
            assert now is not None and now <= known
    assert learn(after, fact) is after or learn(after, fact) == after


@given(st.lists(facts, max_size=6))
def test_times_stand_in_the_order_of_a_life(told: list[Fact]) -> None:
    folded = fold([learned(*told)], Decision.QUEUE, 0)
    times = [time for time in (folded.sent_at, folded.delivered_at, folded.read_at) if time]
    assert times == sorted(times)
    assert folded.read_at is None or (folded.delivered_at and folded.sent_at)
    assert folded.delivered_at is None or folded.sent_at


def test_the_gravest_cause_is_shown_and_equal_ones_by_time() -> None:
    soft = Fact(FactKind.BOUNCED, at(1), None, BounceClass.SOFT, "4.2.2", "mailbox full")
    hard = Fact(FactKind.BOUNCED, at(3), FailureClass.INVALID_RECIPIENT, BounceClass.HARD, "5.1.1", "no such user")
    later = hard._replace(at=at(5), text="still no such user")
    attempt = learned(later, soft, hard)
    assert (attempt.bounce, attempt.cause_at, attempt.code) == (BounceClass.HARD, at(3), "5.1.1")
    assert (attempt.bounced_at, attempt.hard_bounced_at) == (at(1), at(5))


def test_a_machine_opens_and_clicks_but_does_not_read() -> None:
    for kind in HUMAN:
        attempt = learned(Fact(FactKind.ACCEPTED, at(2)), Fact(kind, at(1), machine=True))
        assert attempt == Attempt(1, accepted_at=at(1), machine_opened_at=at(1))
    assert attempt_status(learned(Fact(FactKind.BOUNCED, at(1), machine=True))) is Status.BOUNCED


# --- the status of an attempt, once more from the facts themselves


def status_of_facts(told: Sequence[Fact]) -> Status:
    """The rules of docs/statuses.md over the bare facts, without what `learn` keeps of them."""
    human = [f for f in told if f.kind in HUMAN and not f.machine]
    delivered = [f.at for f in told if f.kind is FactKind.DELIVERED]
    hard = [f.at for f in told if f.kind is FactKind.BOUNCED and f.bounce is BounceClass.HARD]
    kinds = {f.kind for f in told}
    if human:
        return Status.READ
    if delivered and not (hard and max(hard) >= min(delivered)):
        return Status.DELIVERED
    if FactKind.BOUNCED in kinds:
        return Status.BOUNCED
    if FactKind.FAILED in kinds:
        return Status.FAILED
    if kinds & {FactKind.ACCEPTED, FactKind.DEFERRED, *HUMAN}:  # a machine's open, as human ones are dealt with
        return Status.SENT
    return Status.UNKNOWN if FactKind.OUTCOME_UNKNOWN in kinds else Status.PROCESSING


@given(st.lists(facts, max_size=6))
def test_the_status_of_an_attempt_follows_the_rules(told: list[Fact]) -> None:
    assert attempt_status(learned(*told)) is status_of_facts(told)


@given(st.lists(facts, max_size=6))
def test_complaints_unsubscribes_and_other_words_never_change_a_status(told: list[Fact]) -> None:
    kinds = (FactKind.COMPLAINED, FactKind.UNSUBSCRIBED, FactKind.OTHER)
    more = [Fact(kind, at(0)) for kind in kinds]
    assert fold([learned(*told, *more)], Decision.QUEUE, 0) == fold([learned(*told)], Decision.QUEUE, 0)


# --- the status of a message


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[list[Fact]], Decision, int]:
    """The facts of each attempt, the last decision and how many attempts stood before it."""
    told = draw(st.lists(st.lists(facts, max_size=4), max_size=4))
    return told, draw(st.sampled_from(Decision)), draw(st.integers(0, len(told)))


def status_of_life(told: Sequence[Sequence[Fact]], decision: Decision, decided_after: int) -> Status:
    statuses = [status_of_facts(each) for each in told]
    waits = decision in SEND_WANTED and decided_after == len(told) or decision is Decision.FOLLOW and not told
    rules = [
        (Status.READ in statuses, Status.READ),
        (Status.DELIVERED in statuses, Status.DELIVERED),
        (Status.SENT in statuses, Status.SENT),
        (Status.PROCESSING in statuses, Status.PROCESSING),
        (waits, Status.PENDING),
        (Status.UNKNOWN in statuses, Status.UNKNOWN),
        (decision is Decision.CANCEL, Status.CANCELLED),
        (bool(statuses) and statuses[-1] is Status.BOUNCED, Status.BOUNCED),
    ]
    return next((status for holds, status in rules if holds), Status.FAILED)


@given(lives())
def test_the_status_of_a_message_is_the_first_rule_that_holds(life: tuple[list[list[Fact]], Decision, int]) -> None:
    told, decision, decided_after = life
    folded = fold([learned(*each, number=n) for n, each in enumerate(told, 1)], decision, decided_after)
    assert folded.status is status_of_life(told, decision, decided_after)
    assert bool(folded.reason) is (folded.status in (Status.FAILED, Status.BOUNCED))
    assert (folded.failed_at is None) or folded.status in (Status.FAILED, Status.BOUNCED)
    assert (folded.delivered_at is not None) is (folded.status in (Status.DELIVERED, Status.READ))


@given(lives(), st.data())
def test_facts_may_come_at_any_moment_of_a_life(
    life: tuple[list[list[Fact]], Decision, int], data: st.DataObject
) -> None:
    """Attempts and decisions in their order, facts of an attempt anywhere after its start, some of them twice."""
    told, decision, decided_after = life
    steps: list[tuple[int, Fact | None]] = [(number, None) for number in range(1, len(told) + 1)]
    for number, each in enumerate(told, 1):
        for fact in each:
            for _ in range(data.draw(st.integers(1, 2))):
                start = steps.index((number, None))
                steps.insert(data.draw(st.integers(start + 1, len(steps))), (number, fact))
    attempts: list[Attempt] = []
    for number, step in steps:
        if step is None:
            attempts.append(Attempt(number))
        else:
            attempts[number - 1] = learn(attempts[number - 1], step)
        fold(attempts, Decision.QUEUE, 0)  # looked at in between: without memory, it can do no harm
    straight = [learned(*each, number=number) for number, each in enumerate(told, 1)]
    assert fold(attempts, decision, decided_after) == fold(straight, decision, decided_after)


@given(lives(), st.data())
def test_abandoned_legs_count_only_where_they_arrived(
    life: tuple[list[list[Fact]], Decision, int], data: st.DataObject
) -> None:
    """The status is that of the legs since, unless one of the earlier ones arrived; in any order."""
    told, decision, decided_after = life
    abandoned = data.draw(st.integers(0, len(told)))
    shuffled = [data.draw(st.permutations(each * 2)) for each in told]
    attempts = [learned(*each, number=number) for number, each in enumerate(shuffled, 1)]
    folded = fold(attempts, decision, decided_after, abandoned)
    statuses = [status_of_facts(each) for each in told]
    arrived = [status for status in (Status.READ, Status.DELIVERED) if status in statuses]
    running = [status for status in (Status.SENT, Status.PROCESSING) if status in statuses[abandoned:]]
    if arrived or running:
        assert folded.status is (arrived or running)[0]
    elif (decision in SEND_WANTED and decided_after == len(told)) or (decision is Decision.FOLLOW and not told):
        assert folded.status is Status.PENDING
    else:
        assert folded.status not in (Status.SENT, Status.PROCESSING, Status.PENDING)
        assert (folded.status is Status.UNKNOWN) is (Status.UNKNOWN in statuses[abandoned:])
    straight = [learned(*each, number=number) for number, each in enumerate(told, 1)]
    assert folded == fold(straight, decision, decided_after, abandoned)


ACCEPTED, DELIVERED = Fact(FactKind.ACCEPTED, at(1)), Fact(FactKind.DELIVERED, at(2))
HARD = Fact(FactKind.BOUNCED, at(3), FailureClass.INVALID_RECIPIENT, BounceClass.HARD)
SOFT = Fact(FactKind.BOUNCED, at(3), FailureClass.TEMPORARY, BounceClass.SOFT)
BUSY = Fact(FactKind.FAILED, at(1), FailureClass.TEMPORARY)
REFUSED = Fact(FactKind.FAILED, at(1), FailureClass.PERMANENT)
LOST = Fact(FactKind.OUTCOME_UNKNOWN, at(1), FailureClass.AMBIGUOUS)
OPENED = Fact(FactKind.OPENED, at(4))
Told = list[list[Fact]]


@pytest.mark.parametrize(
    ("told", "decision", "decided_after", "status", "reason"),
    [
        pytest.param([], Decision.QUEUE, 0, "pending", "", id="waits"),
        pytest.param([], Decision.SUPPRESS, 0, "failed", "suppressed", id="suppressed"),
        pytest.param([], Decision.REJECT, 0, "failed", "rejected", id="rejected"),
        pytest.param([], Decision.EXPIRE, 0, "failed", "expired", id="expired before any attempt"),
        pytest.param([], Decision.CANCEL, 0, "cancelled", "", id="cancelled before any attempt"),
        pytest.param([[]], Decision.QUEUE, 0, "processing", "", id="handed over"),
        pytest.param([[ACCEPTED]], Decision.QUEUE, 0, "sent", "", id="accepted"),
        pytest.param([[Fact(FactKind.DEFERRED, at(1))]], Decision.QUEUE, 0, "sent", "", id="deferred"),
        pytest.param([[DELIVERED]], Decision.QUEUE, 0, "delivered", "", id="delivered before the answer"),
        pytest.param([[OPENED]], Decision.QUEUE, 0, "read", "", id="read before anything else"),
        pytest.param([[ACCEPTED, HARD]], Decision.QUEUE, 0, "bounced", "hard", id="hard bounce"),
        pytest.param([[ACCEPTED, SOFT]], Decision.QUEUE, 0, "bounced", "soft", id="a final soft bounce"),
        pytest.param([[DELIVERED, HARD]], Decision.QUEUE, 0, "bounced", "hard", id="hard bounce after delivery"),
        pytest.param(
            [[DELIVERED, HARD._replace(at=at(1))]], Decision.QUEUE, 0, "delivered", "", id="bounced, then not"
        ),
        pytest.param([[DELIVERED, SOFT]], Decision.QUEUE, 0, "delivered", "", id="soft bounce after delivery"),
        pytest.param([[OPENED, HARD._replace(at=at(9))]], Decision.QUEUE, 0, "read", "", id="read, whatever bounces"),
        pytest.param([[REFUSED]], Decision.QUEUE, 0, "failed", "permanent", id="refused"),
        pytest.param([[BUSY]], Decision.RETRY, 1, "pending", "", id="waits for its retry"),
        pytest.param([[BUSY]], Decision.NEXT_LEG, 1, "pending", "", id="waits for its next leg"),
        pytest.param([[BUSY]], Decision.QUEUE, 0, "failed", "temporary_failure", id="not to be retried"),
        pytest.param([[BUSY], [BUSY]], Decision.GIVE_UP, 2, "failed", "attempts_exhausted", id="given up"),
        pytest.param([[BUSY]], Decision.EXPIRE, 1, "failed", "expired", id="expired while it waited"),
        pytest.param([[BUSY]], Decision.CANCEL, 1, "cancelled", "", id="its retry cancelled"),
        pytest.param([[BUSY], []], Decision.RETRY, 1, "processing", "", id="second attempt"),
        pytest.param([[BUSY], [ACCEPTED]], Decision.RETRY, 1, "sent", "", id="second attempt accepted"),
        pytest.param([[BUSY, DELIVERED]], Decision.RETRY, 1, "delivered", "", id="late delivery ends a waiting retry"),
        pytest.param([[DELIVERED], [HARD]], Decision.RETRY, 1, "delivered", "", id="delivered once, bounced once"),
        pytest.param([[HARD], []], Decision.RETRY, 1, "processing", "", id="late bounce of the first attempt"),
        pytest.param([[HARD], [REFUSED]], Decision.RETRY, 1, "failed", "permanent", id="what the last attempt says"),
        pytest.param(
            [[REFUSED], [HARD]], Decision.RETRY, 1, "bounced", "hard", id="what the last attempt says: bounce"
        ),
        pytest.param([[LOST]], Decision.QUEUE, 0, "unknown", "", id="nobody knows"),
        pytest.param([[LOST, ACCEPTED]], Decision.QUEUE, 0, "sent", "", id="known after all"),
        pytest.param([[LOST, REFUSED]], Decision.QUEUE, 0, "failed", "permanent", id="known after all: refused"),
        pytest.param([[LOST]], Decision.OPERATOR_RETRY, 1, "pending", "", id="operator sends it again"),
        pytest.param(
            [[LOST], [REFUSED]], Decision.OPERATOR_RETRY, 1, "unknown", "", id="the first may yet have arrived"
        ),
        pytest.param([[LOST]], Decision.CANCEL, 1, "unknown", "", id="cancelling a retry does not make it known"),
        pytest.param([[HARD]], Decision.OPERATOR_RETRY, 1, "pending", "", id="operator sends a bounced one again"),
        pytest.param([[HARD], [ACCEPTED]], Decision.OPERATOR_RETRY, 1, "sent", "", id="and it is on its way"),
        pytest.param([[HARD]], Decision.CANCEL, 1, "cancelled", "", id="and takes that back"),
        pytest.param([[BUSY]], Decision.FOLLOW, 1, "failed", "temporary_failure", id="followed only"),
    ],
)
def test_the_rules(told: Told, decision: Decision, decided_after: int, status: str, reason: str) -> None:
    folded = fold([learned(*each, number=n) for n, each in enumerate(told, 1)], decision, decided_after)
    assert (folded.status.value, folded.reason) == (status, reason)


def test_every_end_has_a_reason_of_its_own() -> None:
    for decision, reason in DECISION_REASON.items():
        assert fold([learned(BUSY)], decision, 1).reason == reason
    assert set(DECISION_REASON.values()) == set(Reason)
    for failure in FailureClass:
        told = learned(Fact(FactKind.FAILED, at(1), failure))
        assert fold([told], Decision.QUEUE, 0).reason == failure
    assert fold([learned(Fact(FactKind.FAILED, at(1)))], Decision.QUEUE, 0).reason == FailureClass.PERMANENT


def test_a_decision_to_send_is_spent_by_the_next_attempt() -> None:
    for decision in Decision:
        waiting, started = (fold([Attempt(n) for n in range(1, 1 + k)], decision, 0).status for k in (0, 1))
        assert (waiting is Status.PENDING) is (decision in SEND_WANTED or decision is Decision.FOLLOW)
        assert started is Status.PROCESSING and started in OPEN


# --- docs/statuses.md


def test_the_published_table_is_what_the_code_does() -> None:
    written = (Path(__file__).parents[2] / "docs" / "statuses.md").read_text()
    for block in status_table.blocks():
        assert block in written, "docs/statuses.md is out of date: python -m tests.tracking.status_table"


def test_the_published_table_has_every_status_fact_and_decision() -> None:
    assert {situation.status for situation in status_table.SITUATIONS} == set(Status)
    assert {fact.kind for _, fact in status_table.FACTS} == set(FactKind)
    assert set(status_table.DECISIONS) == set(Decision)
