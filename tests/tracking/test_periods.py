"""Steps of hours, days, weeks and months in time zones, and the rows that cover them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking import periods, rollups
from tracking.rollups import Span

BERLIN, KOLKATA, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe")
ZONES = (UTC, BERLIN, KOLKATA, LORD_HOWE, ZoneInfo("America/Sao_Paulo"), ZoneInfo("Asia/Kathmandu"))
NOW = datetime(2026, 11, 21, 9, 17, 3, tzinfo=UTC)
STEPS: list[periods.Step] = ["hour", "day", "week"]
moments = st.datetimes(datetime(2015, 1, 1), datetime(2026, 11, 20), timezones=st.just(UTC))


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_days_on_which_the_clock_is_moved(day: tuple[int, int, int], hours: int) -> None:
    begin = datetime(*day, tzinfo=BERLIN)
    [period] = periods.steps(begin, begin + timedelta(hours=1), "day", BERLIN)
    assert period.begin == begin and period.end - period.begin == timedelta(hours=hours)
    assert len(periods.steps(*period, "hour", BERLIN)) == hours


def test_hours_of_a_half_hour_zone_begin_at_half_past() -> None:
    found = periods.steps(NOW, NOW + timedelta(hours=2), "hour", KOLKATA)
    assert [period.begin.minute for period in found] == [30, 30, 30]
    assert found[0].begin <= NOW < found[0].end


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    weeks = periods.steps(NOW - timedelta(days=20), NOW, "week", BERLIN)
    assert {period.begin.astimezone(BERLIN).weekday() for period in weeks} == {0}
    months = periods.steps(datetime(2024, 1, 31, tzinfo=BERLIN), NOW, "month", BERLIN)
    assert [period.begin.astimezone(BERLIN).day for period in months] == [1] * 35


@given(
    since=moments, days=st.integers(0, 80), zone=st.sampled_from(ZONES), step=st.sampled_from(["hour", "day", "week"])
)
def test_steps_leave_no_gap(since: datetime, days: int, zone: ZoneInfo, step: periods.Step) -> None:
    until = since + timedelta(days=days, minutes=7)
    found = periods.steps(since, until, step, zone)
    assert found[0].begin <= since and found[-1].begin < until <= found[-1].end
    assert all(one.end == other.begin for one, other in pairwise(found))
    assert all(period.begin.minute % 15 == 0 for period in found)


def test_too_many_steps() -> None:
    with pytest.raises(periods.TooMany, match="choose a longer step"):
        periods.steps(NOW - timedelta(days=10), NOW, "minute", UTC)


@given(since=moments | st.integers(0, 5000).map(lambda n: NOW - timedelta(minutes=n)), minutes=st.integers(1, 60_000))
def test_each_moment_is_covered_once(since: datetime, minutes: int) -> None:
    until = since + timedelta(minutes=minutes)
    found = [(span, tier) for tier, spans in rollups.cover([Span(since, until)], NOW).items() for span in spans]
    found.sort()
    assert found[0][0].low <= since and until <= found[-1][0].high
    assert all(one.high == other.low for (one, _), (other, _) in pairwise(found))
    for span, tier in found:
        assert rollups.floor(span.low, tier.width) == span.low and rollups.floor(span.high, tier.width) == span.high
        if tier is rollups.MINUTE:
            assert span.low >= rollups.minutes_kept(NOW)
        else:
            assert span.high <= NOW - rollups.FINE
