"""The list of messages: its rows from a scope, its columns, the saved views beside it. Used by the admin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.forms import BoundField
from django.http import HttpRequest

from dashboard import filters
from dashboard import scope as scopes
from dashboard.keyset import Condition, KeysetChangeList
from dashboard.models import SavedView
from dashboard.scope_form import ScopeForm
from tracking import selection

# column of MessageAdmin → what it is called in the choice of columns
COLUMNS: Mapping[str, str] = {
    "short_id": "id",
    "to": "recipient",
    "channel": "channel",
    "state": "status",
    "why": "reason",
    "provider": "provider",
    "tries": "attempts",
    "created": "created",
    "project_code": "project",
    "external": "external id",
    "category": "category",
    "template_id": "template",
    "tag_list": "tags",
    "batch_number": "batch",
    "reference": "provider’s id",
    "sent": "sent",
    "delivered": "delivered",
}
DEFAULT = ["short_id", "to", "channel", "state", "why", "provider", "tries", "created"]
MAX_VIEWS = 30  # tabs above the list
_SESSION = "message_columns"
_FIRST_ROW = ("status", "time", "channel", "project", "account")
_MORE = ("reason", "failure", "bounce", "category", "template", "tag", "batch", "since", "until")


class MessageChangeList(KeysetChangeList):
    """Its filters are the fields of a scope. A scope that cannot be understood shows nothing but what is wrong: with a
    filter left out it would show what nobody asked for."""

    scope: scopes.Scope | None
    form: ScopeForm

    def narrow(self, request: HttpRequest, rows: QuerySet[Any]) -> tuple[QuerySet[Any], list[Condition]]:
        self.filter_specs = []
        try:
            self.scope = scopes.read(request.GET, codes=filters.codes(request))
        except scopes.BadScope as bad:
            self.scope, self.form = None, bad.form
            self.has_active_filters = True
            return rows.none(), []
        self.form = self.scope.form
        self.has_active_filters = bool(self.scope.values)
        rows, others = self.scope.within(rows)
        return rows, [self._between(other) for other in others]

    def _between(self, condition: selection.Condition) -> Condition:
        """Among the ids of this page, which are known once it is to be applied."""

        def apply(rows: QuerySet[Any]) -> QuerySet[Any]:
            low, high = (self.edge, self.older) if self.newer is None else (self.newer, self.edge)
            return condition(rows, low, high)

        return apply

    @property
    def looked_through(self) -> int:
        return min(super().looked_through, self.scope.looked_through) if self.scope else 0

    @property
    def first_fields(self) -> list[BoundField]:
        return [self.form[name] for name in _FIRST_ROW]

    @property
    def more_fields(self) -> list[BoundField]:
        return [self.form[name] for name in _MORE]

    @property
    def more_used(self) -> bool:
        """Whether one of the fields that are folded away holds something."""
        return any(self.form[name].data for name in _MORE)


# --- columns


def columns(request: HttpRequest) -> list[str]:
    """Those of the address, else those of the session, else the usual ones."""
    asked = [name for text in request.GET.getlist("columns") for name in text.split(",") if name]
    if asked:
        unknown = [name for name in asked if name not in COLUMNS]
        if unknown:
            messages.warning(request, f"There is no column “{unknown[0][:50]}”. Possible are: {', '.join(COLUMNS)}.")
        chosen = [name for name in COLUMNS if name in asked]
        if chosen and request.session.get(_SESSION) != chosen:
            request.session[_SESSION] = chosen
        return chosen or DEFAULT
    kept = [name for name in request.session.get(_SESSION, ()) if name in COLUMNS]
    return kept or DEFAULT


def column_choices(shown: Sequence[Any]) -> list[tuple[str, str, bool]]:
    return [(name, text, name in shown) for name, text in COLUMNS.items()]


# --- saved views


def views_for(request: HttpRequest) -> QuerySet[SavedView]:
    """One's own, and what others share."""
    return SavedView.objects.filter(Q(owner=request.user.pk) | Q(shared=True))


def tabs(request: HttpRequest, query: str) -> list[dict[str, Any]]:
    shown = views_for(request).order_by("name", "pk")[:MAX_VIEWS]
    return [{"view": view, "current": view.query == query, "mine": view.owner_id == request.user.pk} for view in shown]
