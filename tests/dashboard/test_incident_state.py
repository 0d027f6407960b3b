"""The states of an incident: examples, and any sequence of values against what is promised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.alert_kinds import KINDS, badness, breached, shown
from dashboard.incident_state import Deed, Open, decide

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUIET = timedelta(minutes=10)


def deed(state, value, *, muted=False, now=NOW):
    return decide(state, breached=value >= 5, badness=value, muted=muted, now=now, quiet=QUIET)


@pytest.mark.parametrize(
    ("state", "value", "muted", "expected"),
    [
        (None, 4, False, Deed.NOTHING),
        (None, 5, False, Deed.OPEN),
        (None, 5, True, Deed.OPEN),
        (Open(None, 5), 9, False, Deed.UPDATE),
        (Open(None, 5), 10, False, Deed.WORSEN),
        (Open(None, 5), 10, True, Deed.UPDATE),
        (Open(None, 0), 6, False, Deed.WORSEN),
        (Open(None, None), 5, False, Deed.TELL),
        (Open(None, None), 5, True, Deed.UPDATE),
        (Open(None, 5), 0, False, Deed.REST),
        (Open(NOW - timedelta(minutes=9), 5), 0, False, Deed.REST),
        (Open(NOW - timedelta(minutes=10), 5), 0, False, Deed.CLOSE),
        (Open(NOW - timedelta(minutes=10), 5), 6, False, Deed.UPDATE),
    ],
)
def test_each_step(state, value, muted, expected):
    assert deed(state, value, muted=muted) is expected


def test_without_a_quiet_time_it_closes_at_once():
    assert decide(Open(None, 5), breached=False, badness=0, muted=False, now=NOW, quiet=timedelta()) is Deed.CLOSE


VALUES = st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.integers(1, 20)), max_size=60)


@given(VALUES)
def test_any_life(steps):
    """It opens at a breach alone, closes only after the quiet time, and tells at most once for each doubling."""
    now, state, last_bad, told = NOW, None, None, []
    for value, muted, minutes in steps:
        now += timedelta(minutes=minutes)
        done = deed(state, value, muted=muted, now=now)
        if value >= 5:
            assert done not in (Deed.NOTHING, Deed.REST, Deed.CLOSE)
            last_bad = now
        if done is Deed.OPEN:
            assert state is None
            told = [] if muted else [value]
        elif done in (Deed.TELL, Deed.WORSEN):
            assert not muted and (not told or value >= 2 * told[-1])
            told.append(value)
        elif done is Deed.CLOSE:
            assert now - last_bad >= QUIET
        else:
            assert done is not Deed.NOTHING or state is None
        quiet_since = (state.quiet_since if state and state.quiet_since else now) if done is Deed.REST else None
        state = None if done in (Deed.NOTHING, Deed.CLOSE) else Open(quiet_since, told[-1] if told else None)
    assert len(told) <= 6  # 5, 10, 20, 40, 80: each is twice the one before


@pytest.mark.parametrize(
    ("kind", "value", "volume", "expected"),
    [
        ("bounce_high", 5.0, 100, True),
        ("bounce_high", 4.9, 100, False),
        ("bounce_high", 50.0, 9, False),
        ("bounce_high", None, 100, False),
        ("delivery_low", 5.0, 100, False),
        ("delivery_low", 4.9, 100, True),
        ("anomaly", -5.0, 100, True),
        ("anomaly", 4.0, 100, False),
        ("circuit", 5.0, None, True),
    ],
)
def test_what_is_too_bad(kind, value, volume, expected):
    assert breached(kind, value=value, threshold=5.0, volume=volume, minimum=10) is expected


def test_low_rates_are_as_bad_as_what_they_lack():
    assert badness("delivery_low", 90.0) == pytest.approx(10) and badness("anomaly", -3.0) == 3


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("bounce_high", 12.345, "12.3 %"),
        ("delivery_low", 99.95, "99.95 %"),
        ("delivery_low", 100.0, "100 %"),
        ("latency_high", 90.0, "90 s"),
        ("latency_high", 250.0, "4 min 10 s"),
        ("backlog_age", 7_260.0, "2 h 1 min"),
        ("backlog_count", 1_204.0, "1,204 messages"),
        ("backlog_count", 1.0, "1 message"),
        ("anomaly", -3.25, "-3.2 ×"),
        ("silent", None, "–"),
    ],
)
def test_values_are_shown_with_their_unit(kind, value, text):
    assert shown(kind, value) == text


def test_every_kind_can_be_shown():
    assert all(shown(kind, 1.0) for kind in KINDS)
