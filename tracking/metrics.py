"""Queries over the rollups: the one place that dashboard, API and alerts ask for numbers. Formulas: `figures`.

Numbers are exact at any moment: minute, quarter and hour rows and the deltas that are not folded yet are read in one
statement. A period is half-open; one that does not begin or end on a minute (before the last two days: on a quarter of
an hour) is widened to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Literal

from tracking.figures import DEFINITIONS, Definition, Figures

__all__ = [
    "DEFINITIONS",
    "Definition",
    "Dimension",
    "Figures",
    "Matured",
    "Scope",
    "Step",
    "anomaly",
    "by",
    "maturity",
    "series",
    "series_by",
    "totals",
    "totals_matured",
]
Dimension = Literal["project", "channel", "account", "template", "category"]
Step = Literal["minute", "5min", "15min", "hour", "day", "week", "month"]
Key = int | str | None  # an id, a channel or a name; None: messages without an account
Series = list[tuple[datetime, Figures]]  # (beginning of the step, in the time zone asked for; figures): no gaps


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
    raise NotImplementedError


def series(scope: Scope, step: Step, tz: tzinfo) -> Series:
    raise NotImplementedError


def by(scope: Scope, dimension: Dimension) -> dict[Key, Figures]:
    raise NotImplementedError


def series_by(scope: Scope, dimension: Dimension, step: Step, tz: tzinfo) -> dict[Key, Series]:
    raise NotImplementedError


def maturity() -> Mapping[int, timedelta]:
    """account → its p95 delivery time of the last seven days; accounts without deliveries are left out."""
    raise NotImplementedError


def totals_matured(scope: Scope) -> Matured:
    raise NotImplementedError


def anomaly(scope: Scope, metric: str, tz: tzinfo) -> float | None:
    """How far a metric is from the same local hours of the last four weeks (DEFINITIONS["anomaly"])."""
    raise NotImplementedError
