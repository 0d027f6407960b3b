"""From rows to figures as Plotly takes them: pure, no ORM, no request. Called by pages that show charts.

A colour is the name of a token of tokens.css ("--s-bounced"); static/postroom/charts.js puts in what the theme says.
What a point leads to stands in `meta`: the address of the message list in the layout's, the query of a trace (or one
for each of its points) in its own, and for charts over time the beginning of each step, which bounds the list to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from math import floor, log10
from typing import Any, Literal

Figure = dict[str, Any]  # data, layout: JSON
Number = float | None
Query = Mapping[str, str]
Unit = Literal["messages", "attempts", "%", "s"]

# The tokens of what has no status, as providers. Lines have dashes and a mark each, bars have a pattern, so that colour
# is never the only sign.
PALETTE = tuple(f"--c-{number}" for number in range(1, 9))
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "pentagon")
PATTERNS = ("", "/", "x", ".", "\\", "+", "-", "|")
# Of what has a status: the pattern of its bars, wherever they stand.
STATUS_PATTERNS = {
    "delivered": "",
    "read": ".",
    "sent": "-",
    "unknown": "+",
    "cancelled": "|",
    "bounced": "/",
    "failed": "x",
}
_FINE = {"fillmode": "overlay", "size": 6, "solidity": 0.25, "fgopacity": 0.35}

_HOVER = {
    "messages": "%{y:,} messages",
    "attempts": "%{y:,} attempts",
    "%": "%{y:.1%}",
    "s": "%{y:.3~s}s",
}
LABEL = 24  # characters beside a bar
_WHEN = "%{x|%a %-d %b, %H:%M}"
# Where the axis of delivery times has a line.
SECONDS = {
    **{0.02: "20 ms", 0.05: "50 ms", 0.1: "0.1 s", 0.2: "0.2 s", 0.5: "0.5 s"},
    **{1.0: "1 s", 2.0: "2 s", 5.0: "5 s", 10.0: "10 s", 20.0: "20 s", 60.0: "1 min", 120.0: "2 min", 300.0: "5 min"},
    **{600.0: "10 min", 1_800.0: "30 min", 3_600.0: "1 h", 10_800.0: "3 h", 43_200.0: "12 h", 86_400.0: "1 d"},
    **{259_200.0: "3 d", 864_000.0: "10 d"},
}
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Trace:
    """One row of numbers. None: there is no value, and no line is drawn through it."""

    name: str
    values: Sequence[Number]
    colour: str
    query: Query = field(default_factory=dict)
    queries: Sequence[Query] = ()  # one for each value, where they differ in more than the time
    dash: str = "solid"
    mark: str = "circle"
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of time that is drawn behind a chart: an incident."""

    since: datetime
    until: datetime
    label: str
    colour: str = "--s-failed"


def stacked(begins: Sequence[datetime], until: datetime, traces: Sequence[Trace], *, link: str) -> Figure:
    """Bars over time on top of each other. `begins`: the steps' beginnings in the operator's time zone."""
    x = [_wall(begin) for begin in begins]
    bars = [
        _trace(each, type="bar", x=x, y=list(each.values), marker=_filled(each), unit="messages") for each in traces
    ]
    return _over_time(begins, until, bars, link, barmode="stack", bargap=0.12, yaxis={"rangemode": "tozero"})


def lines(
    begins: Sequence[datetime], until: datetime, traces: Sequence[Trace], *, link: str, unit: Unit = "%"
) -> Figure:
    """Lines over time; shares are drawn up to 100 %, from as far down as there are any; seconds on a log axis."""
    x = [_wall(begin) for begin in begins]
    drawn = [
        _trace(
            each,
            type="scatter",
            mode="lines+markers",
            x=x,
            y=list(each.values),
            line={"color": each.colour, "dash": each.dash, "width": 2},
            marker={"color": each.colour, "symbol": each.mark, "size": 6},
            connectgaps=False,
            unit=unit,
        )
        for each in traces
    ]
    known = [value for each in traces for value in each.values if value is not None]
    axis: dict[str, Any] = {"rangemode": "tozero"}
    if unit == "%":
        axis = {"tickformat": ".0%", "range": [min(0.9, floor(min(known, default=0.0) * 10) / 10) - 0.01, 1.01]}
    if unit == "s":
        axis = _axis_of_seconds(known)
    return _over_time(begins, until, drawn, link, yaxis=axis)


def _axis_of_seconds(known: Sequence[float]) -> dict[str, Any]:
    """From one of SECONDS to another, so that two of them at least are to be read."""
    shown, words = list(SECONDS), list(SECONDS.values())
    low = max((each for each in shown if each <= min(known, default=1)), default=shown[0])
    high = min((each for each in shown if each > max(known, default=1)), default=shown[-1])
    return {"type": "log", "tickvals": shown, "ticktext": words, "range": [log10(low) - 0.02, log10(high)]}


def bars(
    names: Sequence[str], traces: Sequence[Trace], *, link: str, unit: Unit = "messages", beside: bool = False
) -> Figure:
    """Lying bars, one row for each name, the first on top; on top of each other, or beside. Seconds on a log axis."""
    drawn = [
        _trace(
            each,
            type="bar",
            orientation="h",
            y=list(names),
            x=list(each.values),
            marker=_filled(each),
            unit=unit,
        )
        for each in traces
    ]
    axis: dict[str, Any] = {"rangemode": "tozero"}
    if unit == "s":
        axis = {"type": "log", "ticksuffix": " s", "dtick": 1}
    if unit == "%":
        axis = {"tickformat": ".0%", "rangemode": "tozero"}
    layout = {
        "barmode": "group" if beside else "stack",
        "bargap": 0.3,
        "xaxis": axis,
        "yaxis": {
            "type": "category",
            "autorange": "reversed",
            "automargin": True,
            "tickvals": list(names),
            "ticktext": [_plain(_short(name)) for name in names],
        },
        "meta": {"link": link},
    }
    return {"data": drawn, "layout": layout}


def heat(cells: Mapping[tuple[int, int], tuple[int, Number]]) -> Figure:
    """Weekday × hour. `cells`: (weekday from Monday, hour) → (messages, their delivery rate)."""
    counts = [[cells.get((day, hour), (0, None))[0] for hour in range(24)] for day in range(7)]
    rates = [[_percent(cells.get((day, hour), (0, None))[1]) for hour in range(24)] for day in range(7)]
    trace = {
        "type": "heatmap",
        "x": [f"{hour:02}" for hour in range(24)],
        "y": list(DAYS),
        "z": counts,
        "zmin": 0,
        "zmax": _usual_most([count for row in counts for count in row]),
        "text": rates,
        "colorscale": [[0, "--heat-0"], [0.5, "--heat-1"], [1, "--heat-2"]],
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y} %{x}:00<br>%{z:,} messages, %{text} delivered<extra></extra>",
    }
    axes = {"type": "category", "fixedrange": True, "showgrid": False}
    layout = {"xaxis": {**axes, "dtick": 3}, "yaxis": {**axes, "autorange": "reversed"}, "meta": {}}
    return {"data": [trace], "layout": layout}


def _usual_most(counts: Sequence[int]) -> int:
    """What counts as dark: without the few hours of a campaign, beside which all others would look empty."""
    known = sorted(count for count in counts if count)
    return known[int(len(known) * 0.97) - 1] if known else 1


def with_marks(figure: Figure, marks: Sequence[Mark], zone: Any) -> Figure:
    """The same with stretches of time drawn behind it."""
    shapes, words = [], []
    for mark in marks:
        span = {"x0": _wall(mark.since.astimezone(zone)), "x1": _wall(mark.until.astimezone(zone))}
        fill = {"fillcolor": mark.colour, "opacity": 0.12, "line": {"width": 0}, "layer": "below"}
        shapes.append({"type": "rect", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, **span, **fill})
        place = {"x": span["x0"], "y": 1, "xref": "x", "yref": "paper", "xanchor": "left", "yanchor": "top"}
        said = {"text": f"⚑ {_plain(mark.label)}", "showarrow": False, "font": {"size": 11, "color": mark.colour}}
        words.append({**place, **said})
    return {**figure, "layout": {**figure["layout"], "shapes": shapes, "annotations": words}}


def sparkline(values: Sequence[Number], *, width: int = 96, height: int = 22) -> list[str]:
    """The `points` of the polylines of an inline SVG: one for each stretch without a gap. Shares are drawn from the
    lowest to the highest of them, at least five points of a hundred apart, so that noise looks like noise."""
    known = [value for value in values if value is not None]
    if not known:
        return []
    low, high = min(known), max(known)
    low = min(low, high - 0.05)
    step = width / max(1, len(values) - 1)
    runs: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{place * step:.1f},{height - 2 - (height - 4) * (value - low) / (high - low):.1f}")
    return [" ".join(run if len(run) > 1 else run * 2) for run in runs if run]


def _filled(each: Trace) -> dict[str, Any]:
    """Its own pattern, or that of the status whose colour it has."""
    shape = each.pattern or STATUS_PATTERNS.get(each.colour.removeprefix("--s-"), "")
    return {"color": each.colour, "pattern": {"shape": shape, **_FINE}}


def _trace(each: Trace, *, unit: Unit, **rest: Any) -> dict[str, Any]:
    hover = f"{_plain(each.name)}: {_HOVER[unit]}"
    if rest.get("orientation") == "h":
        hover = "%{y}<br>" + hover.replace("%{y", "%{x")
    meta: dict[str, Any] = {"queries": [dict(one) for one in each.queries]} if each.queries else {}
    return {
        "name": _plain(each.name),
        "hovertemplate": f"{hover}<extra></extra>",
        "meta": meta or {"query": dict(each.query)},
        **rest,
    }


def _over_time(
    begins: Sequence[datetime], until: datetime, data: list[dict[str, Any]], link: str, **layout: Any
) -> Figure:
    ends = [*begins[1:], until]
    meta = {"link": link, "begins": [_utc(begin) for begin in begins], "until": _utc(until)}
    axis = {"type": "date", "range": _range(begins, ends)} if begins else {"type": "date"}
    for each in data:
        each["hovertemplate"] = f"{_WHEN}<br>{each['hovertemplate']}"
    # "closest": a click goes to what is under the pointer. In the unified modes its first point is the first trace's.
    return {"data": data, "layout": {"xaxis": axis, "hovermode": "closest", "meta": meta, **layout}}


def _range(begins: Sequence[datetime], ends: Sequence[datetime]) -> list[str]:
    """Half a step more on the left, because bars stand in the middle of their beginning."""
    widths = [after - before for before, after in pairwise(begins)] or [ends[0] - begins[0]]
    half = min(widths) / 2
    return [_wall(begins[0] - half), _wall(begins[-1] + half)]


def _wall(moment: datetime) -> str:
    """As the clock on the wall shows it: Plotly knows no time zones."""
    return moment.strftime("%Y-%m-%d %H:%M")


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(name: str) -> str:
    """Long names would leave no room for their bars; the end of a name tells as much as its beginning."""
    return name if len(name) <= LABEL else f"{name[: LABEL // 2 - 1]}…{name[-LABEL // 2 :]}"


def _plain(text: str) -> str:
    """Plotly reads a little HTML in its texts, and %{…} in its templates: names are neither."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")


def _percent(share: Number) -> str:
    return "–" if share is None else f"{share:.1%}"
