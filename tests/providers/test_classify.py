from __future__ import annotations

from collections import Counter

import pytest

from providers.base import RETRYABLE, BounceClass, FailureClass
from providers.classify import PROVIDER_RETRIES, UNKNOWN, classify, rows, statuses_in

ROWS = list(rows())


def test_every_row_parses_and_no_code_appears_twice():
    assert len(ROWS) > 450
    assert [key for key, times in Counter((row.provider, row.code) for row in ROWS).items() if times > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.provider}:{row.code}")
def test_the_columns_agree_with_one_another(row):
    found = row.classification
    assert row.code == row.code.strip() and row.code
    assert (row.retry != "n") == (found.failure in RETRYABLE)
    assert not (found.suppress and found.account_fault)
    assert not (found.suppress and found.failure in RETRYABLE)
    if row.retry == PROVIDER_RETRIES:
        assert found.failure is FailureClass.TEMPORARY
    if "config" in row.note:
        assert found.account_fault


def test_vendors_of_later_adapters_are_kept():
    assert {"twilio", "vonage_dlr", "fcm", "apns", "ses", "sendgrid", "brevo", "whatsapp", "smpp"} <= {
        row.provider for row in ROWS
    }


@pytest.mark.parametrize(
    ("asked", "failure", "bounce", "suppress", "account_fault"),
    [
        ({"enhanced": "5.1.1"}, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True, False),
        ({"enhanced": "5.7.515"}, FailureClass.BLOCKED, BounceClass.BLOCK, False, False),
        ({"enhanced": "5.7.26"}, FailureClass.BLOCKED, BounceClass.BLOCK, False, True),
        ({"enhanced": "5.2.2"}, FailureClass.TEMPORARY, BounceClass.SOFT, False, False),
        ({"enhanced": "5.3.0"}, FailureClass.PERMANENT, BounceClass.UNDETERMINED, False, False),
        ({"enhanced": "5.0.0", "text": "550 5.0.0 User unknown"}, FailureClass.INVALID_RECIPIENT, None, True, False),
        ({"enhanced": "4.9.9"}, FailureClass.TEMPORARY, BounceClass.SOFT, False, False),
        ({"enhanced": "4.7.1", "reply": "421"}, FailureClass.RATE_LIMIT, BounceClass.SOFT, False, False),
        ({"enhanced": "4.7.1", "reply": "450"}, FailureClass.TEMPORARY, BounceClass.SOFT, False, False),
        ({"reply": "550"}, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True, False),
        ({"reply": "550", "text": "blocked using zen.spamhaus.org"}, FailureClass.BLOCKED, None, False, False),
        ({"enhanced": "5.7.1", "reply": "530"}, FailureClass.PERMANENT, BounceClass.ADMIN, False, True),
        ({"reply": "450", "text": "mailbox unavailable"}, FailureClass.TEMPORARY, BounceClass.SOFT, False, False),
        ({"reply": "451"}, FailureClass.TEMPORARY, BounceClass.SOFT, False, False),
        ({"reply": "421"}, FailureClass.RATE_LIMIT, BounceClass.SOFT, False, False),
        ({"reply": "535"}, FailureClass.PERMANENT, BounceClass.ADMIN, False, True),
        ({"reply": "599"}, FailureClass.PERMANENT, BounceClass.UNDETERMINED, False, False),
        ({"text": "Mailbox   is FULL"}, FailureClass.TEMPORARY, BounceClass.SOFT, False, False),
        ({"text": "<x@y.z>: Sender address rejected: Domain not found"}, FailureClass.PERMANENT, None, False, True),
        ({"http": 429}, FailureClass.RATE_LIMIT, None, False, False),
        ({"http": 401, "text": "access denied"}, FailureClass.PERMANENT, None, False, True),
        ({"http": 400, "text": "no such user"}, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True, False),
        ({"http": 504}, FailureClass.AMBIGUOUS, None, False, False),
    ],
)
def test_look_up(asked, failure, bounce, suppress, account_fault):
    found = classify("smtp", **asked)
    assert (found.failure, found.suppress, found.account_fault) == (failure, suppress, account_fault)
    assert found.known
    assert bounce in (None, found.bounce)


def test_the_vendors_own_code_comes_first():
    found = classify("twilio", code="21610", reply="550", http=400)
    assert (found.failure, found.suppress, found.bounce) == (FailureClass.BLOCKED, True, BounceClass.ADMIN)


@pytest.mark.parametrize("asked", [{}, {"code": "nonsense"}, {"text": "terrible"}, {"http": 299}, {"enhanced": "junk"}])
def test_what_nobody_knows_is_a_temporary_failure_and_says_so(asked):
    assert classify("mailgun", **asked) == UNKNOWN
    assert UNKNOWN.failure is FailureClass.TEMPORARY and not UNKNOWN.known


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smtp; 550 5.1.1 user unknown", ("550", "5.1.1")),
        ("421-4.7.28 slow down", ("421", "4.7.28")),
        ("host mx[10.5.1.1] said: 552 too big", ("552", "")),
        ("Diagnostic: 5.2.2", ("", "5.2.2")),
        ("nothing here, at 4:50 pm", ("", "")),
    ],
)
def test_statuses_are_found_in_diagnostic_text(text, expected):
    assert statuses_in(text) == expected
