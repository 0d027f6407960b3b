"""A scope: which messages are meant, from the query of a list's address. Used by the list, saved views, bulk
operations, exports and alerts.

`read` checks a query and gives a Scope or raises BadScope. How a scope goes through messages is tracking.selection's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from dashboard.scope_form import SPANS, ScopeForm, as_text
from tracking.selection import Filters, Selection

# What metrics are kept by: a scope of these alone can be asked of the rollups.
ROLLED_UP = ("project", "channel", "account", "failure", "bounce", "category", "template")


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


class Scope(Selection):
    def __init__(self, form: ScopeForm, now: datetime) -> None:
        self.form = form
        self.now = now
        self.values: dict[str, Any] = {name: value for name, value in form.cleaned_data.items() if value}
        given = {name: value for name, value in self.values.items() if name not in ("q", "time", "since")}
        super().__init__(Filters(**given, since=self._begin(), provider=form.account_of_search, terms=form.terms))

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
    def words(self) -> list[tuple[str, str]]:
        """The conditions, to be read."""
        shown = []
        for name, value in self.form.canonical().items():
            if name == "ids":
                value = f"{value.count(',') + 1} chosen messages"
            elif name in ("project", "account"):
                value = self.form.codes[name].get(int(value), value)
            shown.append((str(self.form[name].label), value))
        return shown

    def _begin(self) -> datetime | None:
        if span := self.values.get("time"):
            return self.now - SPANS[span][1]
        return self.values.get("since")


def words_of(query: str) -> list[tuple[str, str]]:
    """Of a query that was kept."""
    try:
        return read(query).words
    except BadScope:  # it names a project or an account that is gone
        return [("Scope", query)]
