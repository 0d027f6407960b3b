"""The retry policy: what overrides may say, when another try is wanted, and how long to wait for it."""

from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

from providers.base import FailureClass
from tracking.policy import RetryOverrides, RetryPolicy


def test_conditions_are_named_by_their_words() -> None:
    overrides = RetryOverrides.model_validate({"retry_conditions": ["timeout"], "max_attempts": 2})
    assert overrides.retry_conditions == [FailureClass.TIMEOUT]
    policy = RetryPolicy.merged(overrides.model_dump(mode="json", exclude_none=True))
    assert policy.wants_retry(FailureClass.TIMEOUT, 1)
    assert not policy.wants_retry(FailureClass.TIMEOUT, 2)
    assert not policy.wants_retry(FailureClass.TEMPORARY, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"retry_conditions": ["sometimes"]},
        {"retry_conditions": ["permanent"]},
        {"max_attempts": 0},
        {"max_attempts": "3"},
        {"tries": 3},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RetryOverrides.model_validate(wrong)


def test_a_message_overrides_its_project() -> None:
    policy = RetryPolicy.merged({"max_attempts": 9, "initial_delay": 3.0}, {"max_attempts": 2})
    assert (policy.max_attempts, policy.initial_delay, policy.max_delay) == (2, 3.0, 300.0)


def test_the_delay_doubles_under_a_ceiling_with_full_jitter() -> None:
    policy, jitter = RetryPolicy(), random.Random(1)
    for tries, ceiling in ((1, 1.0), (2, 2.0), (5, 16.0), (12, 300.0), (10_000, 300.0)):
        delays = [policy.delay(tries, jitter=jitter) for _ in range(500)]
        assert 0 <= min(delays) < ceiling * 0.1 and ceiling * 0.9 < max(delays) <= ceiling
    assert policy.delay(1, retry_after=77.0) == 77.0


def test_a_permanent_failure_is_never_retried_whatever_is_asked_for() -> None:
    policy = RetryPolicy.merged({"retry_conditions": ["permanent", "ambiguous"]})
    assert not policy.wants_retry(FailureClass.PERMANENT, 1)
    assert not policy.wants_retry(FailureClass.AMBIGUOUS, 1)
