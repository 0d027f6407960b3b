"""The small charts: where a value is drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dashboard import chart

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def points(*values: float | None) -> list[tuple[datetime, float | None]]:
    return [(NOW + timedelta(minutes=place), value) for place, value in enumerate(values)]


def test_a_gap_in_the_values_is_a_gap_in_the_line():
    drawn = chart.draw(points(0, 10, None, 5, None), threshold=5)
    assert drawn.lines == ["0.0,100.0 25.0,9.09", "75.0,54.55 75.0,54.55"]
    assert (drawn.limit, drawn.top, drawn.signed, drawn.span) == (54.55, 11.0, False, None)


def test_values_below_nothing_have_room_below():
    drawn = chart.draw(points(-10, 10), threshold=2)
    assert drawn.signed and drawn.lines == ["0.0,95.45 100.0,4.55"]


def test_the_time_of_an_incident_is_marked_within_the_chart():
    before, within = NOW - timedelta(hours=1), NOW + timedelta(minutes=1)
    assert chart.draw(points(1, 1, 1), threshold=1, opened=within).span == (50.0, 50.0)
    assert chart.draw(points(1, 1, 1), threshold=1, opened=before, closed=within).span == (0.0, 50.0)


def test_nothing_to_be_seen():
    assert chart.draw([], threshold=1) is None
    assert chart.draw(points(None, None), threshold=1) is None
    assert chart.draw(points(0, 0), threshold=0).lines == ["0.0,100.0 100.0,100.0"]
