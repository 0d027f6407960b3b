"""Export before purge: what is about to go is written to the operator's directory, where it does not expire. Called by
purge, which waits for it.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from django.conf import settings

from tracking.export_columns import COLUMNS
from tracking.models import Export, ExportFormat, ExportState, Project, Retention
from tracking.partitions import WEEK
from tracking.selection import Filters
from tracking.services import exports
from tracking.services.purge_plan import OPEN, Step
from tracking.statuses import Status

BY = "export before purge"


class Ready(enum.Enum):
    YES = enum.auto()
    WAITS = enum.auto()
    NO = enum.auto()  # it failed


def of_step(step: Step, *, since: datetime) -> Step | str:
    """What of a step may go, by exports asked for after `since` (when the purge began); they are asked for here. Words
    say what is being made, and that the step waits. Where an export failed, other projects do not suffer for it: their
    rows go."""
    found = [(project, *_of_project(project, step, since)) for project in wanting(step)]
    for _, ready, why in found:
        if ready is Ready.WAITS:
            return why
    missing = {project.pk: why for project, ready, why in found if ready is Ready.NO}
    if not missing:
        return step
    others = tuple(pk for pk in step.projects if pk not in missing)
    return replace(step, whole=False, projects=others, why="; ".join(filter(None, [step.why, *missing.values()])))


def wanting(step: Step) -> list[Project]:
    """The projects of a step whose messages are exported before they go."""
    if step.kind != "message":
        return []
    found = Retention.objects.filter(project__in=step.projects, export_first=True).select_related("project")
    return [each.project for each in found]


def _of_project(project: Project, step: Step, since: datetime) -> tuple[Ready, str]:
    found = _find(project, step, since)
    if found is None:
        _ask(project, step)
        return Ready.WAITS, f"the export of {project.code} is being made"
    if found.state == ExportState.COMPLETED:
        return Ready.YES, ""
    if found.state in (ExportState.FAILED, ExportState.EXPIRED):
        return Ready.NO, f"the export of {project.code} failed: {found.fault}"
    return Ready.WAITS, f"the export of {project.code} is being made"


def _find(project: Project, step: Step, since: datetime) -> Export | None:
    made = Export.objects.filter(project=project, by=BY, created_at__gte=since, filters__since=_filters(step)["since"])
    return made.order_by("-pk").first()


def _filters(step: Step) -> dict[str, str]:
    return Filters(since=step.week).model_dump(mode="json", exclude_defaults=True)


def _ask(project: Project, step: Step) -> None:
    final = [status for status in Status if status.value not in OPEN]
    exports.request(
        project=project,
        filters=Filters(since=step.week, until=step.week + WEEK, status=[] if step.whole else final),
        by=BY,
        format=ExportFormat.JSONL,
        columns=tuple(COLUMNS),
        gzip=True,
        directory=Path(settings.PURGE_EXPORT_DIR),
        expires=False,
    )
