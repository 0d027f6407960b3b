"""What the console keeps of a recipient who is erased: searches in saved views and bulk operations, and the audit log
of them. A step of tracking.services.erase, which calls it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from uuid import UUID

from auditlog.models import LogEntry
from django.db.models import Model, Q

from dashboard.models import BulkOperation, SavedView
from tracking.services.erase_messages import Done, Target

_TEXTS: tuple[tuple[type[Model], tuple[str, ...]], ...] = (
    (SavedView, ("name", "query")),
    (BulkOperation, ("query", "reason")),
    (LogEntry, ("object_repr", "changes", "changes_text")),
)


def step(target: Target, place: UUID | None) -> Done:
    return Done(counts={model._meta.db_table: _in(model, names, target) for model, names in _TEXTS})


def _in(model: type[Model], names: tuple[str, ...], target: Target) -> int:
    wanted = [Q(**{f"{name}__icontains": form}) for name in names for form in target.needle.forms]
    if not wanted:
        return 0
    holding = reduce(or_, wanted)
    changed = 0
    for row in model._default_manager.filter(holding):
        before = {name: getattr(row, name) for name in names}
        after = {name: target.needle.json(value) for name, value in before.items()}
        if after != before:
            changed += model._default_manager.filter(pk=row.pk).update(**after)
    return changed
