"""Words and timeline: pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from dashboard import timeline, words
from providers.base import BounceClass, FailureClass
from tracking.statuses import Decision, FactKind, Reason, Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "now"),
        (5, "5 s ago"),
        (-90, "in 1 min"),
        (7_300, "2 h ago"),
        (86_400 * 3, "3 d ago"),
        (86_400 * 40, "20 Jan 2026"),
    ],
)
def test_ago(seconds, said):
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == said


def test_every_status_reason_and_class_has_its_words():
    assert set(words.SIGNS) == set(Status)
    assert set(words.REASONS) >= {*Reason, *BounceClass} | set(FailureClass)
    assert set(words.FAILURES) == set(FailureClass)
    assert set(timeline.EVENTS) == set(FactKind)
    assert set(timeline.DECISIONS) == set(Decision)
    for status in Status:
        assert words.summary(status, "", []).endswith(".")


def test_the_summary_names_what_came_before():
    tries = [words.Try(1, "mailgun", "temporary_failure", "421"), words.Try(2, "postmark", "", "")]
    said = words.summary("delivered", "", tries)
    assert said == "Delivered on attempt 2 through postmark, after mailgun answered 421."
    assert words.summary("pending", "", tries[:1]) == "Waits for another attempt, after mailgun answered 421."
    assert "the address does not take mail" in words.summary("bounced", "hard", tries)


def event(**kw):
    base = {
        "type": "event", "kind": "delivered", "at": NOW, "recorded_at": NOW, "said_at": None, "attempt": 1,
        "source": "provider", "provider": "postmark", "failure": None, "bounce": None, "machine": False,
        "code": None, "text": None, "detail": None,
    }  # fmt: skip
    return timeline.entries([{**base, **kw}])[0]


def test_late_and_corrected_times_are_said():
    entry = event(recorded_at=NOW + timedelta(minutes=5), said_at=NOW - timedelta(days=400))
    assert entry.notes[0] == "learnt 5 min later"
    assert "2025-01-25" in entry.notes[1]
    assert event(recorded_at=NOW + timedelta(seconds=59)).notes == ()


def test_titles():
    assert event(kind="bounced", bounce="hard").title == "Bounced: hard (the address does not take mail)"
    assert event(kind="opened", machine=True).title == "Opened, by a machine"
    assert event(kind="failed", failure="rate_limit").title == "Failed: rate limit"
    assert event(kind="accepted").title == "Taken by postmark"
    assert event(kind="a_word_of_later").title == "A word of later"
    assert event(type="decision", kind="followed", attempt=None).title.startswith("Taken in")
    assert event(type="decision", kind="followed", attempt=2).title.startswith("Nothing more")


def test_who():
    assert event().who == "receipt of postmark"
    assert event(source="admin", detail={"user": "grace"}).who == "grace"
    assert event(source="api", detail={"key": "abc"}).who == "API key pr_abc_…"
    assert event(source="something").who == "something"
    key = uuid4()
    assert event(receipt_id=key).inbound_id == key
