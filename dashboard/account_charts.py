"""The charts of a provider account's page: those of the overview for this account alone, and its delivery times over
time. Pure; called by account_page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from dashboard import charts
from dashboard.charts import DASHES, MARKS, Mark, Trace
from dashboard.overview_charts import Chart, Entry, of_time, together
from dashboard.overview_form import Asked
from dashboard.overview_tiles import lasting
from dashboard.swatches import Swatch
from tracking import figures
from tracking.figures import Figures
from tracking.metrics import Series

PERCENTILES = (("p50", 0.5, "delivery_p50"), ("p95", 0.95, "delivery_p95"))


def charts_of(asked: Asked, account: int, series: Series, marks: Sequence[Mark]) -> list[tuple[Chart, tuple[str, ...]]]:
    """Each with the metrics that it shows."""
    volume, delivery = of_time(asked, {account: series}, marks)
    return [
        (volume, ("created",)),
        (replace(delivery, title="Delivery rate"), ("delivery_rate",)),
        (_latency(asked, series, marks), tuple(metric for _, _, metric in PERCENTILES)),
    ]


def points(series: Series) -> list[tuple[datetime, Figures]]:
    """As many steps together as make one point of a line."""
    every = together(len(series))
    return [
        (series[place][0], figures.together(each for _, each in series[place : place + every]))
        for place in range(0, len(series), every)
    ]


def _latency(asked: Asked, series: Series, marks: Sequence[Mark]) -> Chart:
    found = points(series)
    query = {"status": "delivered,read"}
    lines = [
        (name, share, Swatch(f"fill-{name}", dash=dash, mark=mark))
        for (name, share, _), dash, mark in zip(PERCENTILES, DASHES, MARKS, strict=False)
    ]
    traces = [
        Trace(
            name,
            [each.percentile(share) for _, each in found],
            f"--p-{name[1:]}",
            query,
            dash=line.dash,
            mark=line.mark,
        )
        for name, share, line in lines
    ]
    timed = any(each.timed for _, each in found)
    begins = [begin.astimezone(asked.zone) for begin, _ in found]
    figure = charts.lines(begins, asked.scope.until, traces if timed else [], link=asked.messages(), unit="s")
    whole = figures.together(each for _, each in series)
    legend = [
        Entry(name, lasting(whole.percentile(share)), asked.messages(**query), line) for name, share, line in lines
    ]
    drawn = charts.with_marks(figure, marks, asked.zone)
    return Chart("latency", "Delivery time", "half, and 95 %, came within", drawn, legend)
