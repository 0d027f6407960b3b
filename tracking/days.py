"""Days of a time zone as a period. Pure; used by the numbers and the exports."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo


class NoSuchDay(ValueError):
    """A time zone leaves a day out where it moves across the date line."""

    def __init__(self) -> None:
        super().__init__("is a day that this time zone does not have")


def period(first: date, last: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """From the first day's midnight to the last day's end, in UTC. Raises NoSuchDay where nothing is between them."""
    since, until = (datetime.combine(day, time.min, zone).astimezone(UTC) for day in (first, last + timedelta(days=1)))
    if since >= until:
        raise NoSuchDay
    return since, until
