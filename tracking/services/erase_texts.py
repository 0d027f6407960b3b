"""Erasure in tables of few rows: words of operators and vendors that name the recipient. Called by erase, and by apps
above for tables of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Model, Q

from providers.models import Circuit
from tracking.models import Erasure, Grant, Project, Remap, Switch
from tracking.redact import Needle
from tracking.services.erase_target import Done, Target


class Texts(NamedTuple):
    """Columns of a table. `unique`: the one that no two rows may share, which gets the row's number."""

    model: type[Model]
    names: tuple[str, ...]
    unique: str = ""


def step(target: Target, place: UUID | None) -> Done:
    project = Q(project_id=target.project_id)
    accounts = Grant.objects.filter(project).values("account_id")
    return Done(
        counts={
            **redact([Texts(Project, ("paused_reason",))], target.needle, Q(pk=target.project_id)),
            **redact([Texts(Erasure, ("reason",))], target.needle, project),
            **redact([Texts(Circuit, ("reason",))], target.needle, Q(account_id__in=accounts)),
            **redact([Texts(Remap, ("why",)), Texts(Switch, ("reason",))], target.needle),
        }
    )


def redact(tables: Iterable[Texts], needle: Needle, within: Q | None = None) -> dict[str, int]:
    """table → rows that named them, be it by what they looked for: an id that was made of the address."""
    return {texts.model._meta.db_table: _in(texts, needle, within or Q()) for texts in tables}


def _in(texts: Texts, needle: Needle, within: Q) -> int:
    wanted = [Q(**{f"{name}__icontains": form}) for name in texts.names for form in needle.forms]
    if not wanted:
        return 0
    changed = 0
    for row in texts.model._default_manager.filter(within & reduce(or_, wanted)):
        before = {name: getattr(row, name) for name in texts.names}
        after = {name: _fitting(texts, row, name, needle.ids(value)) for name, value in before.items()}
        if after != before:
            changed += texts.model._default_manager.filter(pk=row.pk).update(**after)
    return changed


def _fitting(texts: Texts, row: Model, name: str, value: Any) -> Any:
    longest = getattr(texts.model._meta.get_field(name), "max_length", None)
    if not isinstance(value, str) or longest is None:
        return value
    if name == texts.unique and value != getattr(row, name):
        number = f" {row.pk}"
        return value[: longest - len(number)] + number
    return value[:longest]
