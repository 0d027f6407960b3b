"""Queries over the rollups: the one place that dashboard, API and alerts ask for numbers. Formulas: `figures`.

Numbers are exact at any moment: minute, quarter and hour rows and the deltas that are not folded yet are read in one
statement. A period is half-open; one that does not begin or end on a minute (before the last two days: on a quarter of
an hour) is widened to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from statistics import median
from typing import Any, Literal

from tracking.counters import floor
from tracking.figures import DEFINITIONS, Definition, Figures
from tracking.periods import MAX_STEPS, MINUTES, Step, TooMany, steps, weeks_before
from tracking.rollups import QUARTER, Found, Question, Span, Sums, minutes_kept, read

__all__ = [
    "DEFINITIONS",
    "Definition",
    "Dimension",
    "Figures",
    "Forgotten",
    "Matured",
    "Scope",
    "Step",
    "TooMany",
    "anomaly",
    "by",
    "maturity",
    "series",
    "series_by",
    "totals",
    "totals_matured",
]
Dimension = Literal["project", "channel", "account", "template", "category"]
Key = int | str | None  # an id, a channel or a name; None: messages without an account
Series = list[tuple[datetime, Figures]]  # (beginning of the step, in the time zone asked for; figures): no gaps
MATURITY_OVER = timedelta(days=7)
UNTRIED = timedelta(hours=1)  # the maturity of an account that has delivered nothing in that time
WEEKS = 4  # that an anomaly looks back
USUAL = 0.05  # of the median: a difference smaller than this is nothing unusual


class Forgotten(ValueError):
    """Numbers as fine as this are not kept for that long."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which messages and attempts are meant. None: all of them. A template or category goes with projects and a
    channel only, and its attempts are not counted."""

    since: datetime
    until: datetime
    project_ids: Collection[int] | None = None
    channel: str | None = None
    account_ids: Collection[int] | None = None
    template_id: str | None = None
    category: str | None = None

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or self.until.tzinfo is None:
            raise ValueError("since and until need a time zone")
        for name in ("since", "until"):  # in a zone of its own, a day's arithmetic would go by the clock on the wall
            object.__setattr__(self, name, getattr(self, name).astimezone(UTC))
        if sum(each is not None for each in (self.template_id, self.category, self.account_ids)) > 1:
            raise ValueError("account_ids, template_id and category cannot be combined")

    def before(self) -> Scope:
        """The period before this one, equally long."""
        return replace(self, since=self.since - (self.until - self.since), until=self.since)


@dataclass(frozen=True, slots=True)
class Matured:
    """To date, and only what had its time: cohorts older than their provider's p95 of the last seven days."""

    to_date: Figures
    matured: Figures


def totals(scope: Scope) -> Figures:
    return _figures(_read(scope, [Span(scope.since, scope.until)]), 0)


def by(scope: Scope, dimension: Dimension) -> dict[Key, Figures]:
    """Figures for each value of a dimension that has any."""
    found = _read(scope, [Span(scope.since, scope.until)], dimension)
    return {_key(dimension, text): _figures(found, 0, text) for _, text in found}


def series(scope: Scope, step: Step, tz: tzinfo, *, latency: bool = False, most: int = MAX_STEPS) -> Series:
    """Figures of each step, `most` of them. `latency`: with percentiles, which cost as much as all else. Raises
    TooMany, Forgotten."""
    spans, begins = _steps(scope, step, tz, most)
    found = _read(scope, spans, latency=latency)
    return [(begin, _figures(found, place)) for place, begin in enumerate(begins)]


def series_by(
    scope: Scope, dimension: Dimension, step: Step, tz: tzinfo, *, latency: bool = False
) -> dict[Key, Series]:
    """As `series`, for each value of a dimension that has any figures in the period."""
    spans, begins = _steps(scope, step, tz)
    found = _read(scope, spans, dimension, latency=latency)
    return {
        _key(dimension, text): [(begin, _figures(found, place, text)) for place, begin in enumerate(begins)]
        for text in dict.fromkeys(text for _, text in found)
    }


def maturity() -> Mapping[int, timedelta]:
    """account → its p95 delivery time of the last seven days; accounts without deliveries are left out."""
    now = datetime.now(UTC)
    found = by(Scope(now - MATURITY_OVER, now), "account")
    times = {account: figures.delivery_p95 for account, figures in found.items()}
    return {
        account: timedelta(seconds=seconds)
        for account, seconds in times.items()
        if isinstance(account, int) and seconds is not None
    }


def totals_matured(scope: Scope, maturities: Mapping[int, timedelta] | None = None) -> Matured:
    """Two statements; one where the caller has the result of `maturity` already."""
    maturities = maturity() if maturities is None else maturities
    now = datetime.now(UTC)
    ripe = " ".join(f"WHEN {account:d} THEN %(ripe_{account:d})s" for account in maturities)
    at = f"CASE coalesce(m.account_id, 0) {ripe} ELSE %(ripe)s END" if ripe else "%(ripe)s"
    params = {f"ripe_{account:d}": now - time for account, time in maturities.items()} | {"ripe": now - UNTRIED}
    found = _read(scope, [Span(scope.since, scope.until)], key=f"{{end}} <= ({at})::timestamptz", params=params)
    everything = Sums()
    for sums in found.values():
        everything.add(sums.counts)
        everything.add_latency(sums.latency)
    return Matured(Figures.of(everything.counts, everything.latency), _figures(found, 0, "true"))


def anomaly(scope: Scope, metric: str, tz: tzinfo) -> float | None:
    """How far a metric is from the same local hours of the last four weeks (DEFINITIONS["anomaly"]), over the whole
    quarters of an hour of the period. Raises KeyError where there is no such metric."""
    low, high = (floor(moment, QUARTER.width) for moment in (scope.since, scope.until))
    if high - low > timedelta(days=6):
        raise ValueError("the period must be shorter than a week")
    spans = [Span(weeks_before(low, week, tz), weeks_before(high, week, tz), week) for week in range(WEEKS, -1, -1)]
    found = _read(scope, spans)
    value, *before = (_figures(found, week).value(metric) for week in range(WEEKS + 1))
    known = [each for each in before if each is not None]
    if value is None or len(known) < 2:
        return None
    middle = median(known)
    usual = max(*(abs(each - middle) for each in known), abs(middle) * USUAL)
    return (value - middle) / usual if usual else None


# --- from a scope to a question


def _steps(scope: Scope, step: Step, tz: tzinfo, most: int = MAX_STEPS) -> tuple[list[Span], list[datetime]]:
    periods = steps(scope.since, scope.until, step, tz, most)
    if MINUTES.get(step, 60) < 15 and scope.since < minutes_kept(datetime.now(UTC)):
        raise Forgotten("steps of less than a quarter of an hour are kept for two days")
    spans = [
        Span(max(period.begin, scope.since), min(period.end, scope.until), place)
        for place, period in enumerate(periods)
    ]
    return spans, [period.begin for period in periods]


_COLUMNS: dict[Dimension, str] = {
    "project": "m.project_id",
    "channel": "m.channel",
    "account": "coalesce(m.account_id, 0)",
    "template": "m.label",
    "category": "m.label",
}


def _figures(found: Found, step: int, key: str = "") -> Figures:
    sums = found.get((step, key))
    return Figures.of(sums.counts, sums.latency) if sums else Figures()


def _key(dimension: Dimension, text: str) -> Key:
    if dimension in ("project", "account"):
        return int(text) or None
    return text


def _read(
    scope: Scope,
    spans: Sequence[Span],
    dimension: Dimension | None = None,
    *,
    latency: bool = True,
    key: str = "",
    params: Mapping[str, Any] | None = None,
) -> Found:
    wanted: dict[str, Any] = {"kind": _kind(scope, dimension), **(params or {})}
    where = ["m.kind = %(kind)s"]
    if scope.project_ids is not None:
        where.append("m.project_id = ANY(%(projects)s)")
        wanted["projects"] = list(scope.project_ids)
    if scope.account_ids is not None:
        where.append("coalesce(m.account_id, 0) = ANY(%(accounts)s)")
        wanted["accounts"] = list(scope.account_ids)
    for column, value in (("channel", scope.channel), ("label", scope.template_id or scope.category)):
        if value is not None:
            where.append(f"m.{column} = %({column})s")
            wanted[column] = value
    key = key or (_COLUMNS[dimension] if dimension else "''")
    return read(Question(spans, " AND ".join(where), wanted, key, latency), datetime.now(UTC))


def _kind(scope: Scope, dimension: Dimension | None) -> str:
    """Which rows: those by account, or those of templates or categories. Raises ValueError where it would need both."""
    kinds = {
        kind
        for kind, named in (("template", scope.template_id), ("category", scope.category))
        if named is not None or dimension == kind
    }
    if len(kinds) > 1 or (kinds and (scope.account_ids is not None or dimension == "account")):
        raise ValueError("template, category and account cannot be combined")
    return kinds.pop() if kinds else ""
