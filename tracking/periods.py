"""Steps of time as an operator sees them: hours, days, weeks and months of a time zone. Pure; called by metrics.

A day in which the clock is moved has 23 or 25 hours; in a zone that is half an hour off, hours begin at half past.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

Step = Literal["minute", "5min", "15min", "hour", "day", "week", "month"]
MINUTES = {"minute": 1, "5min": 5, "15min": 15, "hour": 60}
MAX_STEPS = 3_000


class Period(NamedTuple):
    """Half-open, in UTC."""

    begin: datetime
    end: datetime


class TooMany(ValueError):
    """The answer would have more steps than anyone can look at."""


def steps(since: datetime, until: datetime, step: Step, tz: tzinfo, most: int = MAX_STEPS) -> list[Period]:
    """The steps that touch [since, until), in that time zone. Raises TooMany."""
    found = []
    for period in _steps(since, until, step, tz):
        found.append(period)
        if len(found) > most:
            raise TooMany(f"more than {most:,} steps of a {step}: choose a longer step or a shorter period")
    return found


def _steps(since: datetime, until: datetime, step: Step, tz: tzinfo) -> Iterator[Period]:
    begin = _begin(since, step, tz)
    while begin < until:
        end = _next(begin, step, tz)
        yield Period(begin, end)
        begin = end


def _begin(moment: datetime, step: Step, tz: tzinfo) -> datetime:
    """The beginning of the step that holds a moment, in UTC: there, times may be subtracted and compared."""
    local = moment.astimezone(tz)
    if step in MINUTES:
        over = timedelta(minutes=(local.hour * 60 + local.minute) % MINUTES[step])
        return moment.astimezone(UTC) - over - timedelta(seconds=local.second, microseconds=local.microsecond)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if step == "week":
        day -= timedelta(days=day.weekday())
    if step == "month":
        day = day.replace(day=1)
    return day.astimezone(UTC)


def _next(begin: datetime, step: Step, tz: tzinfo) -> datetime:
    if step in MINUTES:
        width = timedelta(minutes=MINUTES[step])
        return max(_begin(begin + width, step, tz), begin + width / 2)
    days = {"day": 1, "week": 7, "month": 31}[step]
    return _begin(begin + timedelta(days=days, hours=2), step, tz)


def weeks_before(moment: datetime, weeks: int, tz: tzinfo) -> datetime:
    """The same hour by the clock on the wall."""
    return (moment.astimezone(tz) - timedelta(weeks=weeks)).astimezone(UTC)
