"""The numbers of one project for the API: delivery metrics, its providers side by side, its performance. Called by
the API. Reads only, through `metrics`; the formulas are `figures`'s.

Dates are whole days of a time zone, both inclusive. All functions raise BadQuery.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from providers.models import ProviderAccount
from tracking import days, metrics, schema
from tracking.metrics import Dimension, Figures, Key, Scope, Step
from tracking.models import Project
from tracking.schema import BadQuery, Strict

MAX_DAYS = 366
DEFAULT_DAYS = 30
MAX_HOURS = MAX_DAYS * 24 + 1  # a year in which the clock is moved only once
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST, _LAST = date(2000, 1, 1), date(2999, 12, 30)
TimeGroup = Literal["hour", "day", "week", "month"]
Group = Literal[TimeGroup, "provider", "channel", "project", "template", "category"]


def _day(text: Any) -> Any:
    """pydantic would also take a time, or seconds since 1970."""
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def _known_day(day: date | None) -> date:
    if day is None or not _FIRST <= day <= _LAST:
        raise PydanticCustomError("date", "must be a date such as 2026-03-31, from the year 2000 on")
    return day


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        raise PydanticCustomError("zone", "must be a time zone of the IANA data base, such as Europe/Berlin") from None


Day = Annotated[
    date, BeforeValidator(_known_day), BeforeValidator(_day), Field(examples=["2026-03-31"], description="YYYY-MM-DD")
]


class PeriodQuery(Strict):
    """Days of a time zone, both inclusive, 366 at most; without them the last 30 days."""

    start_date: Day | None = None
    end_date: Day | None = None
    timezone: Annotated[str, Field(max_length=100, examples=["Europe/Berlin"]), AfterValidator(_zone)] = "UTC"


class MetricsQuery(PeriodQuery):
    """Which days, and what each entry is about."""

    group_by: Group = "day"


def delivery_metrics(project_id: int, query: Mapping[str, str]) -> dict[str, Any]:
    """An entry for each step of time, or for each value of a dimension that has any messages."""
    asked = schema.query(MetricsQuery, query)
    scope, zone = _scope(project_id, asked)
    if asked.group_by in get_args(TimeGroup):
        entries = _by_time(scope, asked.group_by, zone)  # type: ignore[arg-type]
    else:
        entries = _by_value(scope, asked.group_by)  # type: ignore[arg-type]
    return {"metrics": list(entries), **_period(scope, zone), "group_by": asked.group_by}


def providers(project_id: int, query: Mapping[str, str]) -> dict[str, Any]:
    """Each account that messages of the project went through, by its code."""
    scope, zone = _scope(project_id, schema.query(PeriodQuery, query))
    return {"providers": list(_providers(scope)), **_period(scope, zone)}


def performance(project_id: int, query: Mapping[str, str]) -> dict[str, Any]:
    """The key figures to date, those of the cohorts that had their time, those of the same time before, and each
    provider's."""
    scope, zone = _scope(project_id, schema.query(PeriodQuery, query))
    found = metrics.totals_matured(scope)
    return {
        **_key_figures(found.to_date),
        "matured": _key_figures(found.matured),
        "before": _key_figures(metrics.totals(scope.before())),
        "providers": list(_providers(scope)),
        **_period(scope, zone),
    }


# --- the period


def _scope(project_id: int, asked: PeriodQuery) -> tuple[Scope, ZoneInfo]:
    zone = ZoneInfo(asked.timezone)
    last = asked.end_date or max(datetime.now(zone).date(), asked.start_date or date.min)
    first = asked.start_date or last - timedelta(days=DEFAULT_DAYS - 1)
    if last < first:
        raise BadQuery({"end_date": "must not be before start_date"})
    if (last - first).days >= MAX_DAYS:
        if asked.end_date is None:
            raise BadQuery({"start_date": f"must be at most {MAX_DAYS} days ago where no end_date is given"})
        raise BadQuery({"end_date": f"must be at most {MAX_DAYS} days from start_date, both included"})
    try:
        since, until = days.period(first, last, zone)
    except days.NoSuchDay as none:
        raise BadQuery({"start_date": str(none)}) from None
    return Scope(since, until, project_ids=[project_id]), zone


def _period(scope: Scope, zone: ZoneInfo) -> dict[str, Any]:
    last = scope.until - timedelta.resolution
    dates = {"start_date": scope.since.astimezone(zone).date(), "end_date": last.astimezone(zone).date()}
    return {**dates, "timezone": zone.key}


# --- the entries


def _by_time(scope: Scope, step: Step, zone: ZoneInfo) -> Iterator[dict[str, Any]]:
    for begin, figures in metrics.series(scope, step, zone, most=MAX_HOURS):
        local = begin.astimezone(zone)
        yield {"date": local.isoformat() if step == "hour" else local.date(), **counted(figures)}


def _by_value(scope: Scope, group: Literal["provider", "channel", "project", "template", "category"]) -> Iterator[Any]:
    dimension: Dimension = "account" if group == "provider" else group
    found = metrics.by(scope, dimension)
    names = _names(group, found)
    for key, figures in sorted(found.items(), key=lambda item: (-item[1].created, str(names.get(item[0], item[0])))):
        if figures.created:  # attempts alone are of messages made before
            yield {group: names.get(key, key), **counted(figures)}


def _names(group: str, found: Mapping[Key, Figures]) -> Mapping[Key, str | None]:
    if group == "provider":
        return _codes(found)
    if group == "project":
        return dict(Project.objects.filter(pk__in=[key for key in found if key]).values_list("pk", "code"))
    return {}


def _codes(found: Mapping[Key, Figures]) -> Mapping[Key, str | None]:
    """null where a message got no account."""
    accounts = ProviderAccount.objects.filter(pk__in=[key for key in found if key]).values_list("pk", "code")
    return {None: None, **dict(accounts)}


def _providers(scope: Scope) -> Iterator[dict[str, Any]]:
    found = metrics.by(scope, "account")
    codes = _codes(found)
    for key, figures in sorted(found.items(), key=lambda item: (-item[1].sent, str(codes.get(item[0])))):
        yield {
            "provider": codes.get(key),
            **_key_figures(figures),
            "attempts": figures.attempts_started,
            "attempt_success": _rounded(figures.attempt_success),
            "receipt_coverage": _rounded(figures.receipt_coverage),
            "health": _rounded(figures.health),
            "failures": dict(figures.attempts_failed_by),
            "bounces": dict(figures.attempts_bounced_by),
        }


def counted(figures: Figures) -> dict[str, Any]:
    """The document's fields, and what they leave open. Times in seconds."""
    return {
        "sent": figures.sent,
        "delivered": figures.delivered,
        "failed": figures.failed,
        "bounced": figures.bounced,
        "unknown": figures.unknown,
        "in_flight": figures.in_flight,
        "read": figures.read,
        "created": figures.created,
        "delivery_rate": _rounded(figures.delivery_rate),
        "bounce_rate": _rounded(figures.bounce_rate),
        "failure_rate": _rounded(figures.failure_rate),
        "read_rate": _rounded(figures.read_rate),
        "avg_delivery_time": _rounded(figures.delivery_mean, 3),
    }


def _key_figures(figures: Figures) -> dict[str, Any]:
    return {
        **counted(figures),
        "delivery_rate_finalised": _rounded(figures.delivery_rate_finalised),
        "delivery_time_p50": _rounded(figures.delivery_p50, 3),
        "delivery_time_p95": _rounded(figures.delivery_p95, 3),
        "delivery_time_p99": _rounded(figures.delivery_p99, 3),
        "slow_ratio": _rounded(figures.slow_ratio),
    }


def _rounded(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(value, digits)
