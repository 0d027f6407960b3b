"""Lists of messages, newest first, a page at a time. Called by the API. Reads only.

No page costs more with ten million messages than with ten thousand: filters that no index serves look through a bounded
number of messages, so that a page may hold fewer than `limit` and still have a `next_cursor`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django_filters import (
    CharFilter,
    ChoiceFilter,
    Filter,
    FilterSet,
    IsoDateTimeFilter,
)

from providers.models import CHANNELS, ProviderAccount
from tracking import cursors, ids, schema, shape
from tracking.models import Message
from tracking.models.message import STATUSES
from tracking.paging import DEFAULT_LIMIT, MAX_LIMIT, NOT_A_CURSOR
from tracking.schema import BadQuery

LOOKED_THROUGH = 20_000  # messages, for one page
_EPOCH = datetime.fromtimestamp(0, UTC)
_COLUMNS = [column.removeprefix("m.").replace("a.", "account__") for column in shape.COLUMNS]


class Whole(Filter):  # type: ignore[misc]
    field_class = forms.IntegerField


class MessageFilter(FilterSet):  # type: ignore[misc]
    """The parameters of a list. A time is also a range of ids: the ids carry it."""

    status = ChoiceFilter(choices=STATUSES)
    channel = ChoiceFilter(choices=CHANNELS)
    provider = CharFilter(method="by_provider", max_length=50)
    recipient = CharFilter(method="by_recipient", max_length=500, strip=False)
    external_id = CharFilter(max_length=200, strip=False)
    batch_id = Whole(min_value=1, max_value=2**63 - 1)
    category = CharFilter(max_length=100, strip=False)
    tag = CharFilter(method="by_tag", max_length=100, strip=False)
    created_after = IsoDateTimeFilter(method="since")
    created_before = IsoDateTimeFilter(method="until")

    INDEXED: ClassVar = frozenset({"recipient", "external_id", "batch_id"})
    WINDOW: ClassVar = frozenset({"created_after", "created_before"})

    class Meta:
        model = Message
        fields: ClassVar[list[str]] = []

    def by_provider(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        return queryset.filter(
            account_id__in=list(ProviderAccount.objects.filter(code=value).values_list("pk", flat=True))
        )

    def by_recipient(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        local, at, domain = value.rpartition("@")
        return queryset.filter(recipient=f"{local}@{domain.lower()}" if at else value)

    def by_tag(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        return queryset.filter(tags__contains=[value])

    def since(self, queryset: QuerySet[Message], name: str, value: datetime) -> QuerySet[Message]:
        return queryset.filter(pk__gte=ids.floor(max(value, _EPOCH)))

    def until(self, queryset: QuerySet[Message], name: str, value: datetime) -> QuerySet[Message]:
        return queryset.filter(pk__lt=ids.floor(max(value, _EPOCH)))


_FILTERS = frozenset(MessageFilter.base_filters)


def page(project_id: int, query: QueryDict) -> dict[str, Any]:
    """Raises BadQuery."""
    _check(query)
    limit, before = limit_of(query.get("limit")), _cursor(query.get("cursor"))
    messages = Message.objects.filter(project_id=project_id)
    if before is not None:
        messages = messages.filter(pk__lt=before)
    window = _filtered(query, messages, MessageFilter.WINDOW)
    found = _filtered(query, messages, _FILTERS)
    floor = _floor(window) if _unindexed(query) else None
    if floor is not None:
        found = found.filter(pk__gte=floor)
    rows = list(found.order_by("-pk").values_list("recipient", *_COLUMNS)[: limit + 1])
    more = rows[limit - 1][1] if len(rows) > limit else floor
    return {
        "notifications": [{**shape.message(*row), "recipient": recipient} for recipient, *row in rows[:limit]],
        "next_cursor": None if more is None else cursors.of_key(more),
    }


def _check(query: QueryDict) -> None:
    """Raises BadQuery, which names all that is wrong."""
    unknown = sorted(set(query) - _FILTERS - {"cursor", "limit"})
    errors = schema.repeated(query.lists())
    errors |= dict.fromkeys(unknown, "is not a known parameter")
    checks: tuple[Callable[[], object], ...] = (
        lambda: _filtered(query, Message.objects.none(), _FILTERS),
        lambda: limit_of(query.get("limit")),
        lambda: _cursor(query.get("cursor")),
    )
    for check in checks:
        try:
            check()
        except BadQuery as bad:
            errors |= bad.errors
    if errors:
        raise BadQuery(errors)


def _filtered(query: QueryDict, messages: QuerySet[Message], names: frozenset[str]) -> QuerySet[Message]:
    chosen = {name: query[name] for name in names & set(query)}
    filters = MessageFilter(chosen, queryset=messages)
    if not filters.is_valid():
        raise BadQuery({name: " ".join(map(str, texts)) for name, texts in filters.errors.items()})
    found: QuerySet[Message] = filters.qs
    return found


def _unindexed(query: QueryDict) -> bool:
    given = {name for name in query if query[name]}
    return not given & MessageFilter.INDEXED and bool(given - MessageFilter.WINDOW - {"cursor", "limit"})


def _floor(window: QuerySet[Message]) -> UUID | None:
    """The last message that one page looks at, or None where there are not that many."""
    return window.order_by("-pk").values_list("pk", flat=True)[LOOKED_THROUGH : LOOKED_THROUGH + 1].first()


def limit_of(text: str | None) -> int:
    """Raises BadQuery."""
    if text is None:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= MAX_LIMIT:
        raise BadQuery({"limit": f"must be a number from 1 to {MAX_LIMIT}"})
    return int(text)


def _cursor(text: str | None) -> UUID | None:
    try:
        return None if text is None else cursors.key(text)
    except cursors.NotACursor:
        raise BadQuery({"cursor": NOT_A_CURSOR}) from None
