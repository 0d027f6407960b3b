"""What is said where an address asks for a filter, or for a value of one, that there is not: it is left out, never in
silence. Used by all lists of the admin that are not of messages (those say it at the field).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.contrib import messages as notices
from django.contrib.admin import FieldListFilter
from django.contrib.admin.views.main import ERROR_FLAG, IGNORED_PARAMS, PAGE_VAR, SEARCH_VAR, ChangeList
from django.http import HttpRequest

SAID = 5  # at most, of one address
LONG = 50  # characters of it that are said
_DJANGOS = frozenset({ERROR_FLAG, "_changelist_filters"})  # the latter leads back to the list that one came from


def unknown(request: HttpRequest, names: Collection[str], possible: Collection[str]) -> None:
    offered = f" Possible are: {', '.join(possible)}." if possible else " There are none here."
    for name in sorted(names)[:SAID]:
        notices.warning(request, f"There is no filter “{name[:LONG]}”: it was left out.{offered}")


def impossible(request: HttpRequest, value: str, title: str) -> None:
    notices.warning(request, f"“{value[:LONG]}” is no {title}: the filter was left out.")


def check(request: HttpRequest, **known: Collection[str] | None) -> None:
    """For a page that reads its filters by itself. `known`: name → its values; None: it says itself what is wrong."""
    unknown(request, set(request.GET) - set(known) - _DJANGOS, list(known))
    for name, values in known.items():
        value = request.GET.get(name, "")
        if value and values is not None and value not in values:
            impossible(request, value, name)


class TellingChangeList(ChangeList):
    """Knows the filters of `list_filter` and no other: Django would take any column's name, or go somewhere else."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        if ERROR_FLAG in request.GET:
            notices.warning(request, "The address asked for what is not possible: this is the whole list.")
        super().__init__(request, *args, **kwargs)

    @property
    def beside(self) -> frozenset[str]:
        """Parameters that are no filters."""
        searched = {SEARCH_VAR} if self.search_fields else set()
        return frozenset({*IGNORED_PARAMS, PAGE_VAR} - {SEARCH_VAR} | searched)

    def get_filters(self, request: HttpRequest) -> Any:
        given = set(self.filter_params) - self.beside
        if not given:
            return super().get_filters(request)
        known = self._known(request)
        possible = [name for name, *_ in known]
        self._refuse(request, given.difference(*known), possible)
        for name in given & set(self.filter_params):
            if self.filter_params[name][-1] == "":
                self._drop(name)
        left = set(self.filter_params)
        found: Any = super().get_filters(request)
        shown = {name for spec in found[0] for name in spec.expected_parameters()}
        self._refuse(request, left - shown - self.beside, possible)  # Django hides filters by what is alike in all rows
        for spec in found[0]:
            self._check(request, spec)
        return found if left == set(self.filter_params) else super().get_filters(request)

    def _known(self, request: HttpRequest) -> list[list[str]]:
        """Of each filter the parameters that it understands; the first one is its name."""
        found = []
        filters: Sequence[Any] = self.list_filter
        for each in filters:
            if isinstance(each, str):
                field: Any = self.opts.get_field(each)
                spec = FieldListFilter.create(field, request, {}, self.model, self.model_admin, field_path=each)
                names = [name for name in spec.expected_parameters() if name]
                found.append([name for name in names if self.model_admin.lookup_allowed(name, "", request)])
            else:
                found.append([each.parameter_name])
        return found

    def _check(self, request: HttpRequest, spec: Any) -> None:
        """A Pick has said by itself what is wrong with its value."""
        if not isinstance(spec, FieldListFilter):
            if spec.value() is None:
                self._drop(spec.parameter_name)
        elif spec.used_parameters and not any(choice["selected"] for choice in spec.choices(self)):
            for name in spec.used_parameters:
                impossible(request, self.filter_params[name][-1], str(spec.title))
                self._drop(name)

    def _refuse(self, request: HttpRequest, names: Collection[str], possible: Sequence[str]) -> None:
        unknown(request, names, possible)
        for name in names:
            self._drop(name)

    def _drop(self, name: str) -> None:
        self.filter_params.pop(name, None)
        self.params.pop(name, None)


class Telling:
    """For a ModelAdmin with such a list."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TellingChangeList
