"""The filters of long lists: each says whether an index serves it. Used by KeysetChangeList."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import CharField, QuerySet, Value
from django.http import HttpRequest

from dashboard import telling
from providers.models import CHANNELS, ProviderAccount
from tracking import ids
from tracking.models import InboundState, Project
from tracking.models.intake import REASONS

_CODES = "_postroom_codes"


def codes(request: HttpRequest) -> dict[str, dict[int, str]]:
    """The codes of all projects and accounts, in one query a request: for filters and columns alike."""
    known: dict[str, dict[int, str]] | None = getattr(request, _CODES, None)
    if known is None:
        known = account_and_project_codes()
        setattr(request, _CODES, known)
    return known


def account_and_project_codes() -> dict[str, dict[int, str]]:
    known: dict[str, dict[int, str]] = {"project": {}, "account": {}}
    projects = Project.objects.order_by().values_list(Value("project", CharField()), "pk", "code")
    accounts = ProviderAccount.objects.order_by().values_list(Value("account", CharField()), "pk", "code")
    for what, pk, code in projects.union(accounts, all=True):
        known[what][pk] = code
    return known


class Pick(admin.SimpleListFilter):
    """A choice of one. An unknown value is left out with a word about it, never an error."""

    parameter_name: str
    indexed = False  # whether the rows of one choice lie together in an index that ends in the id

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.lookup_choices = [(str(key), text) for key, text in self.lookup_choices]
        value = super().value()
        if value and not self.valid(value):
            telling.impossible(request, value, str(self.title))
            self.used_parameters.pop(self.parameter_name, None)

    def valid(self, value: str) -> bool:
        return value in {key for key, _ in self.lookup_choices}

    def value(self) -> str | None:
        return super().value() or None

    @property
    def active(self) -> bool:
        return self.value() is not None

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        raise NotImplementedError

    @property
    def shown(self) -> str:
        value = self.value() or ""
        return str(dict(self.lookup_choices).get(value, value))


class Equals(Pick):
    """Rows whose column is the chosen value."""

    column = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(**{self.column or self.parameter_name: value})


class ChannelFilter(Equals):
    title, parameter_name = "channel", "channel"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return CHANNELS


class ProjectScanFilter(Equals):
    title, parameter_name, column = "project", "project", "project_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return sorted(codes(request)["project"].items(), key=lambda item: item[1])


class AccountFilter(Equals):
    title, parameter_name, column = "account", "account", "account_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return sorted(codes(request)["account"].items(), key=lambda item: item[1])


class ReasonFilter(Equals):
    title, parameter_name = "reason", "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason, reason.replace("_", " ")) for reason in REASONS]


class StateFilter(Equals):
    title, parameter_name = "state", "state"
    indexed = True  # new and error have partial indexes; done is nearly everything

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.value) for state in InboundState]


class WindowFilter(Pick):
    title, parameter_name = "time", "time"
    indexed = True
    SPANS = {
        "1h": ("last hour", timedelta(hours=1)),
        "24h": ("last 24 hours", timedelta(days=1)),
        "7d": ("last 7 days", timedelta(days=7)),
        "30d": ("last 30 days", timedelta(days=30)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, text) for key, (text, _) in self.SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        return queryset.filter(pk__gte=ids.floor(datetime.now(UTC) - self.SPANS[value][1]))


class ListedFiltersOnly(telling.Telling):
    """For pages of tables with secrets: Django lets a list be filtered by the beginning of any column, and what can be
    filtered can be guessed letter by letter."""

    list_filter: ClassVar[Any]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        column, _, kind = lookup.partition("__")
        return column in self.list_filter and kind in ("", "exact", "id__exact") and "\0" not in str(value)


class WaitingFilter(Pick):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "still tried"), ("given_up", "given up")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(next_try_at__isnull=value == "given_up")
