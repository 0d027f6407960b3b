"""What the overview is asked for: a period, filters, the operator's time zone. Called by the pages of the overview.

A value that is not possible is said at its field, and the page shows what it shows without any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, QueryDict
from django.urls import reverse

from dashboard.filters import codes
from providers.models import CHANNELS
from tracking.metrics import Scope, Step

SPANS: Mapping[str, tuple[str, timedelta, Step]] = {
    "1h": ("1 h", timedelta(hours=1), "minute"),
    "24h": ("24 h", timedelta(days=1), "15min"),
    "7d": ("7 d", timedelta(days=7), "hour"),
    "30d": ("30 d", timedelta(days=30), "day"),
}
USUAL = "24h"
PERIODS = [*((key, text) for key, (text, _, _) in SPANS.items()), ("custom", "custom")]
LONGEST = timedelta(days=400)
SHORTEST = timedelta(minutes=5)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
ZONE_COOKIE = "tz"
ZONES = frozenset(available_timezones())
OFFERED = sorted(
    zone for zone in ZONES if zone == "UTC" or zone.split("/")[0] in ("Europe", "America", "Asia", "Africa")
)
# A custom period of at most so long is shown in these steps; finer ones than 15 minutes are not kept for long.
_STEPS: tuple[tuple[timedelta, Step], ...] = (
    (timedelta(hours=36), "15min"),
    (timedelta(days=10), "hour"),
    (timedelta(days=120), "day"),
    (LONGEST, "week"),
)
_DATES = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"]


class _MomentInput(forms.DateTimeInput):
    """Browsers complain of a value that is no time: it is not shown then, the message at the field quotes none."""

    def format_value(self, value: Any) -> str | None:
        found = _parsed(str(value or ""))
        return found.strftime("%Y-%m-%dT%H:%M") if found else None


def _parsed(text: str) -> datetime | None:
    for form in _DATES:
        try:
            return datetime.strptime(text.strip(), form)  # noqa: DTZ007
        except ValueError:
            continue
    return None


class _Moment(forms.DateTimeField):
    """By the clock on the operator's wall; the form puts the time zone to it."""

    def __init__(self, label: str) -> None:
        widget = _MomentInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
        wrong = {"invalid": "Give a possible date and time, such as 2026-03-01T14:30."}
        super().__init__(required=False, label=label, input_formats=_DATES, error_messages=wrong, widget=widget)

    def to_python(self, value: Any) -> datetime | None:
        found = _parsed(str(value or ""))
        if value and not found:
            raise ValidationError(self.error_messages["invalid"])
        return found


class _Choice(forms.ChoiceField):
    """One of a list, or any; the message names what is possible."""

    def __init__(self, choices: Any = (), **kw: Any) -> None:
        super().__init__(choices=[("", "all"), *choices], required=False, **kw)

    def validate(self, value: Any) -> None:
        if value and not self.valid_value(value):
            possible = ", ".join(str(text) for key, text in list(self.choices)[:13] if key)  # type: ignore[arg-type]
            raise ValidationError(f"“{value[:50]}” is not possible. Possible are: {possible or 'none yet'}.")


class OverviewForm(forms.Form):
    period = _Choice()
    since = _Moment("From")
    until = _Moment("To")
    project = _Choice()
    channel = _Choice(CHANNELS)
    account = _Choice(label="Provider")
    tz = forms.CharField(
        label="Time zone", required=False, max_length=60, widget=forms.TextInput(attrs={"list": "zones"})
    )

    def __init__(self, query: QueryDict, known: Mapping[str, Mapping[int, str]]) -> None:
        super().__init__(query, label_suffix="")
        self.fields["period"].choices = PERIODS  # type: ignore[attr-defined]
        for name in ("project", "account"):
            pairs = sorted(known[name].items(), key=lambda item: item[1])
            self.fields[name].choices = [("", "all"), *((str(key), code) for key, code in pairs)]  # type: ignore[attr-defined]

    def clean_tz(self) -> str:
        name: str = self.cleaned_data["tz"] or "UTC"
        if name not in ZONES:
            raise ValidationError("There is no such time zone; they are named like Europe/Berlin.")
        return name

    def clean(self) -> dict[str, Any]:
        values = self.cleaned_data
        zone = ZoneInfo(values.get("tz") or "UTC")
        for name in ("since", "until"):
            if values.get(name):
                values[name] = self._moment(name, values[name].replace(tzinfo=zone))
        since, until = values.get("since"), values.get("until")
        if values.get("period") == "custom" and not self.errors:
            self._check_custom(since, until)
        return values

    def _moment(self, name: str, local: datetime) -> datetime | None:
        try:
            moment = local.astimezone(UTC)
        except OverflowError:
            moment = None
        if moment is None or not EARLIEST <= moment <= datetime.now(UTC) + timedelta(days=1):
            self.add_error(name, "Choose a time since the year 2000 that has come already.")
            return None
        return moment

    def _check_custom(self, since: datetime | None, until: datetime | None) -> None:
        if since is None:
            self.add_error("since", "A custom period needs a beginning.")
        elif (until or datetime.now(UTC)) - since < SHORTEST:
            self.add_error("until", "The period must last at least five minutes.")
        elif (until or datetime.now(UTC)) - since > LONGEST:
            self.add_error("since", f"The period may last at most {LONGEST.days} days.")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be shown."""

    period: str
    scope: Scope
    step: Step
    zone: ZoneInfo
    filters: Mapping[str, str]  # project, channel, account, as the message list names them
    codes: Mapping[str, Mapping[int, str]]
    form: OverviewForm
    now: datetime

    @property
    def time(self) -> dict[str, str]:
        """The period as the message list takes it."""
        if self.period != "custom":
            return {"time": self.period}
        return {"since": _utc(self.scope.since), "until": _utc(self.scope.until)}

    def messages(self, **more: str) -> str:
        """The address of the message list with what belongs to this period, these filters, and more."""
        query = {**self.time, **self.filters, **more}
        return f"{reverse('admin:tracking_message_changelist')}?{urlencode(query)}"

    @property
    def query(self) -> str:
        """The same question once more: for the refresh."""
        values = {"period": self.period, **self.filters, "tz": self.zone.key}
        if self.period == "custom":
            values |= {name: self.form.data.get(name, "") for name in ("since", "until")}
        return urlencode(values)

    def query_of(self, period: str) -> str:
        return urlencode({"period": period, **self.filters})

    @property
    def tabs(self) -> list[tuple[str, str, bool]]:
        """(text, query, is it shown)."""
        return [(text, self.query_of(key), key == self.period) for key, (text, _, _) in SPANS.items()]

    @property
    def chips(self) -> list[tuple[str, str]]:
        """The filters in words."""
        found = []
        for name, value in self.filters.items():
            names = self.codes.get(name, {})
            found.append(("provider" if name == "account" else name, names.get(int(value), value) if names else value))
        return found

    @property
    def clock(self) -> str:
        return self.now.astimezone(self.zone).strftime("%H:%M:%S")

    @property
    def before(self) -> str:
        """The period that it is compared with, in words."""
        return "the period before" if self.period == "custom" else f"{SPANS[self.period][0]} before"


def read(request: HttpRequest) -> Asked:
    zone = request.COOKIES.get(ZONE_COOKIE, "")
    known = codes(request)
    query = request.GET.copy()
    query.setdefault("period", "custom" if query.get("since") or query.get("until") else USUAL)
    query.setdefault("tz", zone if zone in ZONES else "UTC")
    form = OverviewForm(query, known)
    values = form.cleaned_data if form.is_valid() else {}
    return _asked(form, values, known, ZoneInfo(values.get("tz") or (zone if zone in ZONES else "UTC")))


def _asked(form: OverviewForm, values: dict[str, Any], known: Mapping[str, Mapping[int, str]], zone: ZoneInfo) -> Asked:
    now = datetime.now(UTC)
    period = values.get("period") or USUAL
    if period == "custom":
        since, until = values["since"], values.get("until") or now
        step = next(step for longest, step in _STEPS if until - since <= longest)
    else:
        _, span, step = SPANS[period]
        since, until = now - span, now
    filters = {name: values[name] for name in ("project", "channel", "account") if values.get(name)}
    scope = Scope(
        since,
        until,
        project_ids=[int(filters["project"])] if "project" in filters else None,
        channel=filters.get("channel"),
        account_ids=[int(filters["account"])] if "account" in filters else None,
    )
    return Asked(period, scope, step, zone, filters, known, form, now)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
