"""Charts, diagnosis and tiles: pure functions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dashboard import charts, diagnosis, overview_charts
from dashboard.charts import Mark, Trace
from dashboard.overview_tiles import percent
from dashboard.swatches import Swatch
from tracking.figures import Figures

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEGINS = [BEGIN, BEGIN + timedelta(hours=1), BEGIN + timedelta(hours=2)]
UNTIL = BEGIN + timedelta(hours=3)
BERLIN = ZoneInfo("Europe/Berlin")


def test_a_point_over_time_knows_its_step_and_its_list():
    local = [each.astimezone(BERLIN) for each in BEGINS]
    figure = charts.stacked(
        local, UNTIL, [Trace("bounced", [1, 0, 2], "--s-bounced", {"status": "bounced"})], link="/l"
    )
    (bar,) = figure["data"]
    assert bar["x"][0] == "2026-03-01 13:00"  # as the clock in Berlin shows it
    assert bar["meta"] == {"query": {"status": "bounced"}}
    meta = figure["layout"]["meta"]
    assert meta["link"] == "/l"
    assert meta["begins"][0] == "2026-03-01T12:00:00Z"
    assert meta["until"] == "2026-03-01T15:00:00Z"


def test_names_are_neither_html_nor_templates():
    evil = "<img src=x onerror=1>%{y}"
    figure = charts.lines(BEGINS, UNTIL, [Trace(evil, [0.5, None, 1.0], "--c-1")], link="/l")
    marked = charts.with_marks(figure, [Mark(BEGIN, UNTIL, evil)], UTC)
    text = json.dumps(marked)
    assert "<img" not in text
    assert '%{y}"' not in marked["data"][0]["name"]
    assert len(marked["layout"]["shapes"]) == 1


def test_no_figures_make_charts_without_error():
    for figure in (
        charts.stacked([], UNTIL, [], link=""),
        charts.lines([], UNTIL, [], link=""),
        charts.lines([], UNTIL, [], link="", unit="s"),
        charts.bars([], [], link="", unit="s"),
        charts.heat({}),
    ):
        json.dumps(figure)
    assert charts.sparkline([None, None]) == []


@pytest.mark.parametrize(
    ("values", "low", "high"), [([1.2, 1.9], 1, 2), ([0.2, 240.0], 0.2, 300), ([0.0001, 9e9], 0.02, 864_000)]
)
def test_an_axis_of_times_goes_from_one_line_to_another(values, low, high):
    drawn = charts.lines(BEGINS[:2], UNTIL, [Trace("p95", values, "--p-95")], link="/l", unit="s")
    axis = drawn["layout"]["yaxis"]
    assert [10**each for each in axis["range"]] == [pytest.approx(low, rel=0.05), pytest.approx(high, rel=0.05)]
    assert len(axis["tickvals"]) == len(axis["ticktext"])


def test_a_sparkline_breaks_where_there_is_nothing():
    first, second = charts.sparkline([1.0, 0.9, None, 0.95])
    assert len(first.split()) == 2
    assert len(second.split()) == 2  # one point is drawn as a dot


@pytest.mark.parametrize(
    ("share", "said"),
    [(None, "–"), (0, "0.0 %"), (0.0001, "< 0.1 %"), (0.95, "95.0 %"), (0.99999, "99.9 %"), (1, "100.0 %")],
)
def test_a_share_never_looks_like_all_or_nothing_when_it_is_not(share, said):
    assert percent(share) == said


def test_each_message_is_in_one_state():
    figures = Figures(
        created=20,
        sent=14,
        delivered=6,
        read=2,
        failed=3,
        bounced=2,
        unknown=1,
        in_flight=2,
        pending=1,
        cancelled=1,
        suppressed=2,
        expired=1,
        rejected=1,
        failed_by={"cancelled": 1, "permanent": 2},
    )
    states = overview_charts.states(figures)
    assert sum(states.values()) == figures.created
    assert (states["failed"], states["cancelled"], states["delivered"]) == (6, 2, 4)


# --- diagnosis


def _figures(sent: int, bounced: int = 0, failed: int = 0, **more: object) -> Figures:
    delivered = sent - bounced - failed
    return Figures(created=sent, sent=sent, delivered=delivered, bounced=bounced, failed=failed, **more)


def test_the_bad_campaign_is_named_with_its_remedy():
    total = _figures(1000, bounced=120, bounced_by={"hard": 110, "soft": 10})
    (trouble,) = diagnosis.troubles(total)
    found = diagnosis.finding(
        trouble,
        total,
        {
            "provider": {"mail": _figures(500, 60), "sms": _figures(500, 60)},
            "category": {"sale": _figures(300, 110), "otp": _figures(700, 10)},
            "project": {"shop": total},
        },
    )
    assert trouble.key == "bounces"
    assert [(each.dimension, each.name) for each in found.culprits] == [("category", "sale")]
    assert found.leading == "hard"
    assert "clean the list" in found.remedy


def test_health_and_too_few_messages_say_nothing():
    assert diagnosis.troubles(_figures(1000, bounced=10, failed=20)) == []
    assert diagnosis.troubles(_figures(40, bounced=30)) == []
    assert diagnosis.troubles(Figures()) == []


def test_each_of_the_four_troubles_is_found():
    total = _figures(
        1000, 60, 150, late=80, overdue=70, attempts_started=900, attempts_accepted=900, attempts_receipted=500
    )
    assert [each.key for each in diagnosis.troubles(total)] == ["bounces", "failures", "delays", "receipts"]
    for trouble in diagnosis.troubles(total):
        assert diagnosis.finding(trouble, total, {"channel": {}}).remedy


# --- colour is never the only sign


def test_every_status_has_a_pattern_of_its_own():
    tones = {tone for _, tone, _ in overview_charts.STATES.values()}
    assert tones == set(charts.STATUS_PATTERNS)
    assert len(set(charts.STATUS_PATTERNS.values())) == len(tones)


def test_a_status_has_its_pattern_in_every_chart_of_bars():
    traces = [Trace(name, [1], f"--s-{name}") for name in ("delivered", "bounced")]
    upright = charts.stacked(BEGINS[:1], UNTIL, traces, link="/")["data"]
    lying = charts.bars(["x"], traces, link="/")["data"]
    for drawn in (upright, lying):
        assert [each["marker"]["pattern"]["shape"] for each in drawn] == ["", "/"]


def test_providers_differ_in_more_than_colour():
    """Those of one colour too: colours come again after eight."""
    samples = [overview_charts.swatch(place) for place in range(16)]
    lines = [overview_charts.line_swatch(place) for place in range(16)]
    assert len({each.pattern for each in samples[:8]}) == 8
    assert len({each.mark for each in lines[:8]}) == 8
    assert len({(each.fill, each.pattern) for each in samples}) == 16
    assert len({(line.fill, line.dash, line.mark) for line in lines}) == 16


@pytest.mark.parametrize("dash", charts.DASHES)
@pytest.mark.parametrize("mark", charts.MARKS)
def test_a_legend_draws_every_line(dash, mark):
    sample = Swatch("fill-c1", dash=dash, mark=mark)
    assert sample.width == 22 and sample.shape.count("M") > 1 and not sample.strokes


@pytest.mark.parametrize("pattern", charts.PATTERNS)
def test_a_legend_draws_every_bar(pattern):
    sample = Swatch("fill-c1", pattern)
    assert sample.width == 10 and sample.shape and bool(sample.strokes) is bool(pattern)


def test_long_names_leave_room_for_their_bars():
    name = "transactional-mail-eu-central-frankfurt-primary-2"
    axis = charts.bars([name, "short"], [Trace("x", [1, 2], "--c-1")], link="/")["layout"]["yaxis"]
    assert axis["tickvals"] == [name, "short"]
    assert axis["ticktext"] == ["transaction…rt-primary-2", "short"]
