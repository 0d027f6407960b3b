"""Which messages are meant, and how to go through them in bounded steps. Used by exports and by the console's scopes.

One condition leads (an index finds its rows in id order); the others look through a bounded number of these rows at a
time. So no page, and no step of a long job, costs more with ten million messages than with ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Annotated
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.lookups import IsNull
from pydantic import BaseModel, ConfigDict, Field

from providers.base import BounceClass, FailureClass
from tracking import ids, search
from tracking.fields import ChannelName
from tracking.models import Attempt, Message
from tracking.statuses import Status

LOOKED_THROUGH = 20_000  # rows, in one step
LOOKED_UP = 3_000  # rows, where the attempts of each must be looked up one by one
# Conditions with an index that ends in the id; the first one that is given leads.
_LEADING = ("recipient", "external_id", "batch", "template", "category", "account", "project")
_COLUMNS = {
    "recipient": "recipient",
    "external_id": "external_id",
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
Code = Annotated[str, Field(max_length=500)]


class Filters(BaseModel):
    """The conditions, all of which must hold. What is left out asks for nothing. `until`: the first moment that does
    not belong to it; `provider`: an account that was searched for, beside `account`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: int | None = None
    account: int | None = None
    provider: int | None = None
    channel: ChannelName | None = None
    status: list[Status] = []
    reason: Code | None = None
    failure: FailureClass | None = None
    bounce: BounceClass | None = None
    category: Code | None = None
    template: Code | None = None
    tag: Code | None = None
    batch: int | None = None
    recipient: Code | None = None
    external_id: Code | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: list[UUID] = []
    terms: list[search.Term] = []


def _matching(condition: Q, rows: Rows, low: UUID | None, high: UUID | None) -> Rows:
    return rows.filter(condition)


@dataclass(frozen=True, slots=True)
class Step:
    """The matching rows among those that were looked through, and where to go on; None: there are no more."""

    rows: QuerySet[Message]
    edge: UUID | None


class Selection:
    def __init__(self, filters: Filters) -> None:
        self.filters = filters

    @property
    def since(self) -> datetime | None:
        return self.filters.since

    @property
    def until(self) -> datetime | None:
        """The first moment that does not belong to it."""
        return self.filters.until

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
        asked = self.filters
        if asked.ids:
            yield Q(pk__in=asked.ids)
        yield from (search.condition(term) for term in asked.terms if term.led)
        for name in _LEADING:
            if (value := getattr(asked, name)) is not None:
                yield Q(**{_COLUMNS[name]: value})
            if name == "account" and asked.provider is not None:
                yield Q(account_id=asked.provider)

    def _unled(self) -> Iterator[Q]:
        asked = self.filters
        yield from (search.condition(term) for term in asked.terms if term.qualifier == "tag")
        for name in ("channel", "reason"):
            if (value := getattr(asked, name)) is not None:
                yield Q(**{_COLUMNS[name]: value})
        if asked.status:
            yield Q(status__in=asked.status)
        if asked.tag is not None:
            yield Q(tags__contains=[asked.tag])

    @cached_property
    def _of_attempts(self) -> list[Q]:
        """What an attempt of the message must be."""
        asked = self.filters
        given = [Q(**{name: value}) for name in ("failure", "bounce") if (value := getattr(asked, name)) is not None]
        return given + [search.condition(term) for term in asked.terms if term.qualifier == "error"]

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
        if self._conditions[0]:  # no EXISTS: the planner would rather read the attempts of all weeks
            its = Subquery(attempts.filter(message_id=OuterRef("pk")).values("number")[:1])
            return rows.filter(IsNull(its, False), attempts__gt=0)
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
