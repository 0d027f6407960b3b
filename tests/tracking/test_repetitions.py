"""Hand-overs that were repeated with the same idempotency key are one to the provider, whichever its receipts name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import BounceClass, FailureClass
from tests.tracking.test_statuses import facts, learned
from tracking import ids
from tracking.rows import AttemptRow, MessageRow
from tracking.statuses import Attempt, Decision, Fact, FactKind, Status, fold, join

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
UNKNOWN = Fact(FactKind.OUTCOME_UNKNOWN, NOON, FailureClass.AMBIGUOUS)
ACCEPTED = Fact(FactKind.ACCEPTED, NOON + timedelta(seconds=1))
BOUNCED = Fact(FactKind.BOUNCED, NOON + timedelta(seconds=2), None, BounceClass.HARD)
DELIVERED = Fact(FactKind.DELIVERED, NOON + timedelta(seconds=2))
EXPIRED = Fact(FactKind.FAILED, NOON + timedelta(seconds=3), FailureClass.TEMPORARY)
REFUSED = Fact(FactKind.FAILED, NOON + timedelta(seconds=1), FailureClass.TEMPORARY)


def status(*tries: tuple[Fact, ...], keys: str = "kkkk", refused: int = 0) -> Status:
    """Of a message whose attempts learned these facts. `refused`: the attempt whose own call ended with a failure."""
    key = ids.new()
    row = MessageRow(key, 1, "email", "ada@example.org", Status.PENDING, Decision.QUEUE, attempts=len(tries))
    for number, (told, word) in enumerate(zip(tries, keys, strict=False), 1):
        finished = REFUSED.at if number == refused else None
        row.tries.append(AttemptRow(key, learned(*told, number=number), 1, 0, word, NOON, finished))
    return fold(row.handovers(), row.decision, row.decided_after).status


@pytest.mark.parametrize(
    ("tries", "wanted"),
    [
        (((UNKNOWN,), (ACCEPTED,)), Status.SENT),
        (((UNKNOWN, BOUNCED), (ACCEPTED,)), Status.BOUNCED),  # the receipts name the first, which the provider had
        (((UNKNOWN, EXPIRED), (ACCEPTED,)), Status.FAILED),
        (((UNKNOWN,), (ACCEPTED, BOUNCED)), Status.BOUNCED),  # the first was never taken
        (((UNKNOWN,), (UNKNOWN, BOUNCED)), Status.BOUNCED),
        (((UNKNOWN,), (UNKNOWN,), (ACCEPTED, BOUNCED)), Status.BOUNCED),
        (((UNKNOWN, BOUNCED), (ACCEPTED, DELIVERED)), Status.BOUNCED),  # a hard bounce at the same time weighs more
        (((UNKNOWN,), (UNKNOWN,)), Status.UNKNOWN),
        (((UNKNOWN,), ()), Status.PROCESSING),
    ],
)
def test_what_is_known_of_one_is_known_of_the_other(tries: tuple[tuple[Fact, ...], ...], wanted: Status) -> None:
    assert status(*tries) == wanted


def test_another_key_is_another_hand_over() -> None:
    assert status((UNKNOWN,), (ACCEPTED, BOUNCED), keys="ko") == Status.UNKNOWN
    assert status((UNKNOWN,), (ACCEPTED, BOUNCED), keys=["", ""]) == Status.UNKNOWN  # type: ignore[arg-type]


def test_a_refusal_of_our_own_call_stays_with_its_attempt() -> None:
    """The lease ran out, the message was sent again, and then the first call ended with 503."""
    assert status((UNKNOWN, REFUSED), (ACCEPTED,), refused=1) == Status.SENT
    assert status((UNKNOWN,), (REFUSED,), refused=2) == Status.UNKNOWN


@given(st.lists(facts, max_size=6), st.lists(facts, max_size=6))
def test_joining_attempts_is_learning_all_facts(some: list[Fact], more: list[Fact]) -> None:
    both: Attempt = learned(*some, *more)
    assert join(learned(*some), learned(*more)) == both == join(learned(*more), learned(*some))
