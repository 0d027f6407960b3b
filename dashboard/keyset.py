"""Lists that never count and never skip: a ChangeList that pages by id, for models whose table grows without end.

A filter that no index serves looks through a bounded number of rows for one page; the page then says how far it looked
and offers to look further. So no page costs more with ten million rows than with ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from dashboard.filters import Pick
from dashboard.telling import TellingChangeList

OLDER, NEWER = "before", "after"  # a page holds what is older than the one id, or newer than the other
LOOKED_THROUGH = 20_000  # rows, for one page

Condition = Callable[[QuerySet[Any]], QuerySet[Any]]


class KeysetChangeList(TellingChangeList):
    """Newest first by primary key."""

    model_admin: KeysetAdmin
    list_filter: Sequence[type[Pick]]
    filter_specs: list[Pick]  # type: ignore[assignment]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        self.older, self.newer = self._cursor(request, OLDER), self._cursor(request, NEWER)
        self.clear_all_filters_qs = "?"
        rows, slow = self.narrow(request, self._placed(self.root_queryset))
        self.edge = self._edge(rows) if slow else None
        for condition in slow:
            rows = condition(rows)
        if self.edge is not None:
            rows = rows.filter(pk__gte=self.edge) if self.newer is None else rows.filter(pk__lte=self.edge)
        return rows

    def narrow(self, request: HttpRequest, rows: QuerySet[Any]) -> tuple[QuerySet[Any], list[Condition]]:
        """The rows that an index finds, and the conditions that are to be looked for among them."""
        self.filter_specs, self.has_filters, _, _, self.has_active_filters = self.get_filters(request)
        for spec in self.filter_specs:
            if spec.active and spec.indexed:
                rows = spec.queryset(request, rows)
        rows, _ = self.model_admin.get_search_results(request, rows, self.query)
        return rows, [partial(spec.queryset, request) for spec in self.filter_specs if spec.active and not spec.indexed]

    @property
    def beside(self) -> frozenset[str]:
        return super().beside | {OLDER, NEWER}

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in (OLDER, NEWER)}

    def _cursor(self, request: HttpRequest, name: str) -> Any:
        text = request.GET.get(name)
        if not text:
            return None
        try:
            return self.opts.pk.to_python(text)
        except ValidationError:
            messages.warning(request, "The place in the list could not be read: this is its beginning.")
            return None

    def _placed(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        if self.newer is not None:
            return rows.filter(pk__gt=self.newer).order_by("pk")
        return (rows if self.older is None else rows.filter(pk__lt=self.older)).order_by("-pk")

    def _edge(self, rows: QuerySet[Any]) -> Any:
        """The last id that one page looks at; None where there are not that many rows."""
        return rows.values_list("pk", flat=True)[self.looked_through : self.looked_through + 1].first()

    @property
    def looked_through(self) -> int:
        """How many rows one page may look through."""
        return LOOKED_THROUGH

    def get_results(self, request: HttpRequest) -> None:
        size = self.list_per_page
        found: list[Model] = list(self.queryset[: size + 1])
        more, rows = len(found) > size, found[:size]
        if self.newer is not None:
            rows.reverse()
        self.model_admin.prepare(request, rows)
        self.result_list = rows
        self._link(rows, more)
        self.result_count = self.full_result_count = len(rows)
        self.show_full_result_count = False
        self.show_admin_actions = bool(rows)
        self.can_show_all = self.multi_page = False
        self.paginator = None

    def _link(self, rows: list[Any], more: bool) -> None:
        """`looked_to`: the page ended where the bound was, not where the rows end."""
        forward = self.newer is None
        beyond = self.edge if not more else None
        first, last = (rows[0].pk, rows[-1].pk) if rows else (self.newer, self.older)
        older = (last if more else beyond) if forward else last
        newer = (first if self.older is not None else None) if forward else (first if more else beyond)
        self.older_link = self._to(OLDER, older)
        self.newer_link = self._to(NEWER, newer)
        self.newest_link = self._to() if self.older is not None or self.newer is not None else ""
        self.looked_to = self.model_admin.time_of(beyond) if beyond is not None else None

    def _to(self, name: str = "", key: Any = None) -> str:
        if name and key is None:
            return ""
        return self.get_query_string({name: str(key)} if name else {}, remove=[OLDER, NEWER])

    def get_ordering_field_columns(self) -> dict[int, Any]:
        return {}


class KeysetAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The ModelAdmin of such a list. Subclasses say what time a key stands for."""

    change_list_template = "admin/keyset_list.html"
    list_per_page = 50
    show_full_result_count = False
    sortable_by = ()
    list_filter: ClassVar[tuple[type[Pick], ...]] = ()
    empty_text = ""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList

    def time_of(self, key: Any) -> datetime | None:
        """When the row of this key was made, where the key says so."""
        return None

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        """Give the rows of one page what their columns need, in few queries."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {"title": str(self.opts.verbose_name_plural).capitalize(), "empty_text": self.empty_text}
        return super().changelist_view(request, {**context, **(extra_context or {})})  # type: ignore[return-value]
