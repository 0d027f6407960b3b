"""A scope: which messages are meant, from the query of a list's address. Used by the list, saved views, bulk
operations, exports and alerts.

`read` checks a query and gives a Scope or raises BadScope. One condition leads (an index finds its rows in id order);
the others look through a bounded number of these rows at a time. So no page, and no step of a long job, costs more with
ten million messages than with ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import QueryDict

from dashboard import search
from dashboard.scope_form import SPANS, ScopeForm, as_text
from tracking import ids
from tracking.models import Attempt, Message

LOOKED_THROUGH = 20_000  # rows, in one step
LOOKED_UP = 4_000  # rows, where the attempts of each must be looked up one by one
# What metrics are kept by: a scope of these alone can be asked of the rollups.
ROLLED_UP = ("project", "channel", "account", "failure", "bounce", "category", "template")
# Conditions with an index that ends in the id; the first one that is given leads.
_LEADING = ("batch", "template", "category", "account", "project")
_COLUMNS = {
    "batch": "batch_id",
    "template": "template_id",
    "category": "category",
    "account": "account_id",
    "project": "project_id",
    "channel": "channel",
    "reason": "reason",
}

Rows = QuerySet[Message]
# What is looked for among rows whose ids lie between these two (None: as far as there are any).
Condition = Callable[[Rows, UUID | None, UUID | None], Rows]


class BadScope(ValueError):
    """`errors`: what is wrong, by field; `form` shows it."""

    def __init__(self, form: ScopeForm) -> None:
        self.form = form
        self.errors: dict[str, list[str]] = {name: [str(text) for text in texts] for name, texts in form.errors.items()}
        super().__init__("; ".join(f"{name}: {' '.join(texts)}" for name, texts in self.errors.items()))


def read(
    query: str | QueryDict, *, codes: Mapping[str, Mapping[int, str]] | None = None, now: datetime | None = None
) -> Scope:
    """Raises BadScope. `codes`: those of projects and accounts, where the caller has them already; `now`: what a period
    like the last hour ends with."""
    form = ScopeForm(QueryDict(query) if isinstance(query, str) else query, codes=codes)
    if not form.is_valid():
        raise BadScope(form)
    return Scope(form, now or datetime.now(UTC))


def _matching(condition: Q, rows: Rows, low: UUID | None, high: UUID | None) -> Rows:
    return rows.filter(condition)


@dataclass(frozen=True, slots=True)
class Step:
    """The matching rows among those that were looked through, and where to go on; None: there are no more."""

    rows: QuerySet[Message]
    edge: UUID | None


class Scope:
    def __init__(self, form: ScopeForm, now: datetime) -> None:
        self.form = form
        self.now = now
        self.values: dict[str, Any] = {name: value for name, value in form.cleaned_data.items() if value}

    @property
    def query(self) -> str:
        """Canonical: the same scope is the same text."""
        return urlencode(sorted(self.form.canonical().items()))

    @property
    def frozen(self) -> str:
        """The same with a period that does not move on, and with nothing that is newer than this moment."""
        values = self.form.canonical()
        values.pop("time", None)
        if self.since:
            values["since"] = as_text(self.since)
        until = self.now + timedelta(milliseconds=1)  # ids tell no finer
        values["until"] = as_text(min(self.until or until, until))
        return urlencode(sorted(values.items()))

    @property
    def rollup(self) -> dict[str, Any] | None:
        """The dimensions, where rollups can answer for this scope (whatever the period); None: only messages can."""
        given = set(self.values) - {"time", "since", "until"}
        template_and_category_stand_alone = given.isdisjoint(("template", "category")) or len(given) == 1
        if not given <= set(ROLLED_UP) or not template_and_category_stand_alone:
            return None
        return {name: self.values[name] for name in sorted(given)}

    @property
    def since(self) -> datetime | None:
        if span := self.values.get("time"):
            return self.now - SPANS[span][1]
        return self.values.get("since")

    @property
    def until(self) -> datetime | None:
        """The first moment that does not belong to it."""
        return self.values.get("until")

    # --- conditions

    @cached_property
    def _conditions(self) -> tuple[Q, list[Q]]:
        """What leads, and what is looked for among its rows."""
        leading, others = Q(), []
        for condition in self._led():
            if not leading:
                leading = condition
            else:
                others.append(condition)
        return leading, [*others, *self._unled()]

    def _led(self) -> Iterator[Q]:
        if chosen := self.values.get("ids"):
            yield Q(pk__in=chosen)
        yield from (search.condition(term) for term in self.form.terms if term.led)
        account = self.form.account_of_search
        for name in _LEADING:
            if name in self.values:
                yield Q(**{_COLUMNS[name]: self.values[name]})
            if name == "account" and account:
                yield Q(account_id=account)

    def _unled(self) -> Iterator[Q]:
        yield from (search.condition(term) for term in self.form.terms if term.qualifier == "tag")
        for name in ("channel", "reason"):
            if name in self.values:
                yield Q(**{_COLUMNS[name]: self.values[name]})
        if "status" in self.values:
            yield Q(status__in=self.values["status"])
        if "tag" in self.values:
            yield Q(tags__contains=[self.values["tag"]])

    @cached_property
    def _of_attempts(self) -> list[Q]:
        """What an attempt of the message must be."""
        asked = [Q(**{name: self.values[name]}) for name in ("failure", "bounce") if name in self.values]
        return asked + [search.condition(term) for term in self.form.terms if term.qualifier == "error"]

    def within(self, rows: QuerySet[Message]) -> tuple[QuerySet[Message], list[Condition]]:
        """The rows that an index leads to, and the conditions that are to be looked for among a bounded number of
        them. The period is a range of ids."""
        leading, others = self._conditions
        rows = rows.filter(leading) if leading else rows
        rows = rows.filter(pk__gte=ids.floor(self.since)) if self.since else rows
        rows = rows.filter(pk__lt=ids.floor(self.until)) if self.until else rows
        return rows, [
            *(partial(_matching, each) for each in others),
            *(partial(self._attempted, each) for each in self._of_attempts),
        ]

    @property
    def looked_through(self) -> int:
        """How many rows may be looked through in one step."""
        return min(LOOKED_UP, LOOKED_THROUGH) if self._of_attempts and self._conditions[0] else LOOKED_THROUGH

    def _attempted(self, condition: Q, rows: Rows, low: UUID | None, high: UUID | None) -> Rows:
        """Those with such an attempt. In plain id order the attempts of these very ids are read in one go; rows that
        an index leads to lie far apart, and theirs are looked up."""
        attempts = Attempt.objects.filter(condition)
        if self._conditions[0]:
            return rows.filter(Q(attempts__gt=0), Exists(attempts.filter(message_id=OuterRef("pk"))))
        low = low or (ids.floor(self.since) if self.since else None)
        high = high or (ids.floor(self.until) if self.until else None)
        attempts = attempts.filter(message_id__gte=low) if low else attempts
        attempts = attempts.filter(message_id__lte=high) if high else attempts
        return rows.filter(pk__in=attempts.values("message_id"))

    # --- going through it

    def step(self, place: UUID | None = None, *, newest_first: bool = False) -> Step:
        """Look through the next rows after `place`, in id order or against it."""
        rows, others = self.within(Message.objects.all())
        if place is not None:
            rows = rows.filter(pk__lt=place) if newest_first else rows.filter(pk__gt=place)
        rows = rows.order_by("-pk" if newest_first else "pk")
        look = self.looked_through
        edge = rows.values_list("pk", flat=True)[look - 1 : look].first()
        if edge is not None:
            rows = rows.filter(pk__gte=edge) if newest_first else rows.filter(pk__lte=edge)
        low, high = (edge, place) if newest_first else (place, edge)
        for other in others:
            rows = other(rows, low, high)
        return Step(rows, edge)

    def steps(self, *, newest_first: bool = False) -> Iterator[QuerySet[Message]]:
        """All of it in bounded steps: evaluate each in a short transaction of its own."""
        place: UUID | None = None
        while True:
            step = self.step(place, newest_first=newest_first)
            yield step.rows
            if step.edge is None:
                return
            place = step.edge
