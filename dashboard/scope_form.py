"""The fields of a scope: what may stand in the query of the message list, and what is said where it may not. Used by
scope and, to show the fields, by the message list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from dashboard.filters import account_and_project_codes
from providers.base import BounceClass, FailureClass
from providers.models import CHANNELS
from tracking import search
from tracking.statuses import Reason, Status

SPANS: Mapping[str, tuple[str, timedelta]] = {
    "1h": ("last hour", timedelta(hours=1)),
    "24h": ("last 24 hours", timedelta(days=1)),
    "7d": ("last 7 days", timedelta(days=7)),
    "30d": ("last 30 days", timedelta(days=30)),
}
MAX_CHOSEN = 200  # messages in a selection
_EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
_REASONS = list(dict.fromkeys(each.value for kind in (Reason, FailureClass, BounceClass) for each in kind))
_DATES = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"]  # beside ISO 8601
_MOMENT_WRONG = "Give a possible date, or a date and time, in UTC: 2026-03-01T14:30."


class Choice(forms.ChoiceField):
    """One of a list, or any. The message names the value and what is possible."""

    def __init__(self, choices: Any = (), **kw: Any) -> None:
        super().__init__(choices=[("", "any"), *choices], required=False, **kw)

    def validate(self, value: Any) -> None:
        if value and not self.valid_value(value):
            possible = [str(text) for key, text in self.choices if key][:12]  # type: ignore[union-attr, misc]
            raise ValidationError(
                f"“{value[:50]}” is not possible here. Possible are: {', '.join(possible) or 'none'}."
            )


class Statuses(forms.CharField):
    """One status, or several with commas between them."""

    def to_python(self, value: Any) -> Any:
        names = list(dict.fromkeys(filter(None, (super().to_python(value) or "").replace(" ", "").split(","))))
        for name in names:
            if name not in set(Status):
                raise ValidationError(f"“{name[:50]}” is no status. Possible are: {', '.join(Status)}.")
        return sorted(names)

    def run_validators(self, value: Any) -> None:
        """A list has none of a text's."""


class Keys(forms.CharField):
    """Ids with commas between them: a selection."""

    def to_python(self, value: Any) -> Any:
        texts = [text for text in (super().to_python(value) or "").split(",") if text]
        if len(texts) > MAX_CHOSEN:
            raise ValidationError(f"A selection holds at most {MAX_CHOSEN} messages.")
        try:
            return sorted({UUID(text) for text in texts})
        except ValueError:
            raise ValidationError("A selection is a list of ids with commas between them.") from None

    def run_validators(self, value: Any) -> None:
        """A list has none of a text's."""


class MomentInput(forms.DateTimeInput):
    """Shows in the browser's own form what an address may say in any; browsers refuse to show what is no time."""

    input_type = "datetime-local"

    def format_value(self, value: Any) -> str | None:
        try:
            found = Moment().to_python(value)
        except ValidationError:
            return None
        return None if found is None else found.strftime("%Y-%m-%dT%H:%M:%S")


class Moment(forms.DateTimeField):
    def __init__(self) -> None:
        wrong = {"invalid": _MOMENT_WRONG}
        widget = MomentInput(attrs={"step": "1"})
        super().__init__(required=False, input_formats=_DATES, error_messages=wrong, widget=widget)

    def to_python(self, value: Any) -> datetime | None:
        found = super().to_python(value)
        if found is not None and found < _EARLIEST:
            raise ValidationError(_MOMENT_WRONG)
        return found


class SearchInput(forms.TextInput):
    input_type = "search"


def _text(length: int) -> forms.CharField:
    return forms.CharField(required=False, max_length=length)


class ScopeForm(forms.Form):
    """Every field of a scope. Unknown parameters are errors: a scope with one condition less would be a larger one."""

    q = forms.CharField(label="Search", required=False, max_length=500, widget=SearchInput)
    time = Choice([(key, text) for key, (text, _) in SPANS.items()], label="Period")
    status = Statuses(required=False, widget=forms.Select)
    channel = Choice(CHANNELS)
    project = Choice()
    account = Choice()
    reason = Choice([(each, each.replace("_", " ")) for each in _REASONS])
    failure = Choice([(each.value, each.value.replace("_", " ")) for each in FailureClass], label="Attempt failed")
    bounce = Choice([(each.value, each.value) for each in BounceClass], label="Attempt bounced")
    category = _text(100)
    template = _text(200)
    tag = _text(100)
    batch = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    since = Moment()
    until = Moment()
    ids = Keys(required=False, max_length=MAX_CHOSEN * 37, label="Selection")

    # beside the scope, an address of the list says which page, which columns, and what of it is stock admin
    BESIDE: ClassVar = frozenset({"before", "after", "columns", "p", "o", "e", "all", "_popup", "_to_field", "_facets"})

    def __init__(self, query: QueryDict, *, codes: Mapping[str, Mapping[int, str]] | None = None) -> None:
        super().__init__(query)
        self.codes = codes if codes is not None else account_and_project_codes()
        self.terms: list[search.Term] = []
        self.account_of_search: int | None = None
        for name in ("project", "account"):
            known = sorted(self.codes[name].items(), key=lambda item: item[1])
            self.fields[name].choices = [("", "any"), *((str(key), code) for key, code in known)]  # type: ignore[attr-defined]
        several = query.get("status", "")
        statuses = [(each, each) for each in (*Status, *([several] if "," in several else []))]
        self.fields["status"].widget.choices = [("", "any"), *statuses]

    def clean_q(self) -> str:
        text: str = self.cleaned_data["q"]
        try:
            self.terms = search.parse(text)
            for term in self.terms:
                if term.qualifier == "provider":
                    self.account_of_search = self._account(term.value)
        except search.BadSearch as bad:
            raise ValidationError(str(bad)) from None
        return text

    def clean_project(self) -> int | None:
        return int(self.cleaned_data["project"] or 0) or None

    def clean_account(self) -> int | None:
        return int(self.cleaned_data["account"] or 0) or None

    def _account(self, code: str) -> int:
        for key, known in self.codes["account"].items():
            if known == code:
                return key
        possible = ", ".join(sorted(self.codes["account"].values())[:12]) or "none yet"
        raise search.BadSearch(f"provider: there is no account “{code[:50]}”. Possible are: {possible}.")

    def clean(self) -> dict[str, Any]:
        values = self.cleaned_data
        for name in sorted(set(self.data) - set(self.fields) - self.BESIDE):
            self.add_error(None, f"There is no filter “{name[:50]}”. Possible are: {', '.join(self.fields)}.")
        if values.get("time") and (values.get("since") or values.get("until")):
            self.add_error("time", "Choose a period, or say since and until; not both.")
        if values.get("since") and values.get("until") and values["since"] >= values["until"]:
            self.add_error("until", "This must be later than since.")
        return values

    def canonical(self) -> dict[str, str]:
        """The checked values as they stand in a query."""
        return {name: as_text(value) for name, value in self.cleaned_data.items() if value}


def as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if value.microsecond else "%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
