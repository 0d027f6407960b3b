"""What a request for an export may hold. Called by the service of these requests and by the API. No ORM."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, Tag, TypeAdapter
from pydantic_core import PydanticCustomError

from tracking import days
from tracking.endpoint_schema import Url
from tracking.export_columns import COLUMNS, USUAL
from tracking.fields import OTHER_FORM, TEXT_FORM, ChannelName, Line, Moment, by_form
from tracking.models.export import ExportFormat
from tracking.schema import FieldError, Invalid, Strict, checked
from tracking.selection import Filters
from tracking.statuses import Status

MAX_DAYS = 366
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z")
_YEARS = range(1971, 9000)


def _day(value: Any) -> date:
    if not isinstance(value, str) or not _DATE.match(value):
        raise PydanticCustomError("day", "must be a date such as 2026-03-01")
    try:
        found = date.fromisoformat(value)
    except ValueError:
        raise PydanticCustomError("day", "is not a possible date") from None
    if found.year not in _YEARS:
        raise PydanticCustomError("day", "is too far away")
    return found


def _moment(value: datetime) -> datetime:
    if value.year not in _YEARS:
        raise PydanticCustomError("moment", "is too far away")
    return value


def _zone(value: str) -> str:
    try:
        return ZoneInfo(value).key
    except (ValueError, OSError, KeyError):
        raise PydanticCustomError("zone", "is not the name of a time zone, such as Europe/Berlin") from None


def _columns(value: list[str]) -> list[str]:
    if unknown := [name for name in value if name not in COLUMNS]:
        raise PydanticCustomError(
            "column",
            "does not know {unknown}; there are {known}",
            {"unknown": ", ".join(unknown)[:200], "known": ", ".join(COLUMNS)},
        )
    if len(set(value)) < len(value):
        raise PydanticCustomError("column", "names a column twice")
    return value


Day = Annotated[date, BeforeValidator(_day)]
Near = Annotated[Moment, AfterValidator(_moment)]
Zone = Annotated[Line, Field(min_length=1, max_length=64), AfterValidator(_zone)]
StatusName = Annotated[Status, Field(strict=False)]
StatusNames = Annotated[list[StatusName], Field(min_length=1)]


class ExportFilters(Strict):
    """As the parameters of GET /v1/notifications; of `status` there may be several."""

    status: (
        Annotated[Annotated[StatusName, Tag(TEXT_FORM)] | Annotated[StatusNames, Tag(OTHER_FORM)], by_form] | None
    ) = None
    channel: ChannelName | None = None
    provider: Annotated[Line, Field(min_length=1, max_length=50)] | None = None
    recipient: Annotated[Line, Field(min_length=1, max_length=500)] | None = None
    external_id: Annotated[Line, Field(min_length=1, max_length=200)] | None = None
    batch_id: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    category: Annotated[Line, Field(min_length=1, max_length=100)] | None = None
    template_id: Annotated[Line, Field(min_length=1, max_length=200)] | None = None
    tag: Annotated[Line, Field(min_length=1, max_length=100)] | None = None
    created_after: Near | None = None
    created_before: Near | None = None


class NewExport(Strict):
    """Both dates belong to the period; without them it is the last 366 days."""

    format: Annotated[ExportFormat, Field(strict=False)] = ExportFormat.CSV
    start_date: Day | None = None
    end_date: Day | None = None
    timezone: Zone = "UTC"
    filters: ExportFilters = ExportFilters()
    columns: Annotated[
        list[Annotated[Line, Field(max_length=100)]],
        Field(min_length=1, max_length=len(COLUMNS)),
        AfterValidator(_columns),
    ] = list(USUAL)
    gzip: bool = False
    webhook_url: Url | None = None

    def period(self, now: datetime) -> tuple[datetime, datetime]:
        """Raises Invalid."""
        zone = ZoneInfo(self.timezone)
        last = self.end_date or now.astimezone(zone).date()
        first = self.start_date or last - timedelta(days=MAX_DAYS - 1)
        if first > last:
            raise Invalid([FieldError("/end_date" if self.end_date else "/start_date", "ends before it begins")])
        if (last - first).days >= MAX_DAYS:
            raise Invalid([FieldError("/start_date", f"a period has at most {MAX_DAYS} days")])
        try:
            return days.period(first, last, zone)
        except days.NoSuchDay as none:
            raise Invalid([FieldError("/start_date", str(none))]) from None

    def selected(self, now: datetime, *, account_id: int | None) -> Filters:
        """Raises Invalid."""
        since, until = self.period(now)
        asked = self.filters
        since, until = max(since, asked.created_after or since), min(until, asked.created_before or until)
        if since >= until:
            raise Invalid([FieldError("/filters/created_before", "leaves nothing of the period")])
        one = [asked.status] if isinstance(asked.status, Status) else asked.status
        return Filters(
            status=one or [],
            account=account_id,
            batch=asked.batch_id,
            template=asked.template_id,
            since=since,
            until=until,
            **asked.model_dump(include={"channel", "external_id", "category", "tag"}),
            recipient=_as_stored(asked.recipient),
        )


def _as_stored(recipient: str | None) -> str | None:
    """The domain of a mail address is kept in small letters."""
    if recipient is None:
        return None
    local, at, domain = recipient.rpartition("@")
    return f"{local}@{domain.lower()}" if at else recipient


_NEW = TypeAdapter(NewExport)


def new_export(document: Any) -> NewExport:
    """Raises Invalid."""
    return checked(_NEW, document)
