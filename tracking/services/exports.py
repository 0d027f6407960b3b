"""Exports: asked for, found, shown, tried again, deleted, expired. Called by the API, the admin, retention and jobs;
export_work writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Sum

from tracking import accounts, ids, jobs
from tracking.export_columns import USUAL
from tracking.models import Endpoint, Export, ExportFormat, ExportState, Project
from tracking.models.export import WORKING
from tracking.selection import Filters
from tracking.services import export_files, export_links
from tracking.services.act import Missing, Refused

TASK = "tracking.tasks.export_slice"
MAX_UNFINISHED = 10  # of one project, or of operators


def request(
    *,
    project: Project | None,
    filters: Filters,
    by: str,
    format: ExportFormat = ExportFormat.CSV,
    columns: Sequence[str] = USUAL,
    gzip: bool = False,
    query: str = "",
    endpoint: Endpoint | None = None,
    directory: Path | None = None,
    expires: bool = True,
) -> Export:
    """On record, and begun soon. Part of the caller's transaction, if there is one. `project` None: of all projects;
    `query`: how the console says the filters; `endpoint`: is told when it is complete; `directory`: one of the
    operator's, where the file stays. Nothing that is newer than this moment gets into it. Raises Refused."""
    until = datetime.now(UTC) + timedelta(milliseconds=1)  # ids tell no finer
    bounded: dict[str, Any] = {"until": min(filters.until or until, until)}
    if project is not None:
        bounded["project"] = project.pk
    with transaction.atomic():
        if project is not None and directory is None:
            Project.objects.select_for_update().get(pk=project.pk)  # the limit holds for calls at the same time too
            _check_room(project)
        export = Export.objects.create(
            project=project,
            by=by[:150],
            format=format,
            gzip=gzip,
            columns=list(columns),
            filters=filters.model_copy(update=bounded).model_dump(mode="json", exclude_defaults=True),
            query=query,
            endpoint=endpoint,
            directory="" if directory is None else str(directory),
            expires=expires,
        )
        jobs.later(TASK)
    return export


def _check_room(project: Project) -> None:
    """Raises Refused."""
    ours = Export.objects.filter(project=project, directory="")
    if ours.filter(state__in=WORKING).count() >= MAX_UNFINISHED:
        raise Refused(f"{MAX_UNFINISHED} exports of this project are not finished yet: wait for one of them")
    kept = ours.exclude(state=ExportState.EXPIRED).aggregate(bytes=Sum("bytes"))["bytes"] or 0
    if kept >= settings.EXPORT_KEPT_GB * 2**30:
        raise Refused(
            f"this project keeps files of {settings.EXPORT_KEPT_GB} GB or more: delete an export that is not needed"
            " any more, or wait until one expires"
        )


def find(export_id: UUID, *, project_id: int) -> Export:
    """Raises Missing."""
    found = Export.objects.select_related("project").filter(pk=export_id, project_id=project_id).first()
    if found is None:
        raise Missing
    return found


def of_project(project_id: int, *, limit: int, before: UUID | None = None) -> list[Export]:
    """Newest first."""
    found = Export.objects.select_related("project").filter(project_id=project_id)
    return list((found if before is None else found.filter(pk__lt=before)).order_by("-pk")[:limit])


def retry(export_id: UUID) -> bool:
    """A failed one goes on where it was. False where it has not failed."""
    with transaction.atomic():
        failed = Export.objects.select_for_update().filter(pk=export_id, state=ExportState.FAILED)
        if not failed.update(state=ExportState.PENDING, fault="", faults=0, due_at=None, finished_at=None):
            return False
        jobs.later(TASK)
    return True


def delete(export_id: UUID) -> None:
    """The file first: what is left on record after a crash can be deleted again."""
    with transaction.atomic():
        export = Export.objects.select_for_update().filter(pk=export_id).first()
        if export is not None:
            _remove_ours(export)
            export.delete()


def expire(export_id: UUID) -> None:
    """Remove its file, and keep the row, which says that there was one. Also what an erasure does."""
    with transaction.atomic():
        export = Export.objects.select_for_update().filter(pk=export_id).exclude(state__in=WORKING).first()
        if export is not None:
            export_files.remove(export)
            export.state = ExportState.EXPIRED
            export.save(update_fields=["state"])


def opened(export_id: UUID, *, count: bool = True) -> tuple[str, BinaryIO] | None:
    """The name and the file of one that can be downloaded, counted where it is. None: there is none (any more)."""
    export = Export.objects.select_related("project").filter(pk=export_id).first()
    if export is None or not export.available or export.over(datetime.now(UTC)):
        return None
    try:
        file = export_files.path_of(export).open("rb")
    except FileNotFoundError:
        return None
    if count:
        Export.objects.filter(pk=export_id).update(downloads=F("downloads") + 1)
    return export_files.name_of(export), file


def expire_due(now: datetime) -> int:
    over = Export.objects.filter(state__in=(ExportState.COMPLETED, ExportState.FAILED), expires_at__lte=now)
    found = list(over.values_list("pk", flat=True)[:1_000])
    for key in found:
        expire(key)
    return len(found)


def _remove_ours(export: Export) -> None:
    """What was written for the operator's own directory stays there, once it is whole."""
    if not export.directory or export.state != ExportState.COMPLETED:
        export_files.remove(export)


# --- how it is shown


def percent(export: Export) -> int:
    """How much of its time it has behind it; 100 only when it is complete."""
    if export.state in (ExportState.COMPLETED, ExportState.EXPIRED):
        return 100
    if not export.estimate:
        return 0
    return min(99, 100 * export.rows // max(export.estimate, 1))


def shape(export: Export) -> dict[str, Any]:
    """As the API shows it."""
    now = datetime.now(UTC)
    available = export.available and not export.over(now)
    link = export_links.address(export, now) if available else None
    done = export.state in (ExportState.COMPLETED, ExportState.EXPIRED)
    return {
        "id": export.pk,
        "status": export.state,
        "format": export.format,
        "gzip": export.gzip,
        "columns": export.columns,
        "filters": shown_filters(Filters.model_validate(export.filters)),
        "progress": {
            "rows": export.rows,
            "estimated_total": export.rows if done else max(export.estimate or 0, export.rows),
            "percent": percent(export),
        },
        "bytes": export.bytes,
        "sha256": export.sha256 or None,
        "download_url": link.url if link else None,
        "download_url_expires_at": link.until if link else None,
        "downloads": export.downloads,
        "error": export.fault if export.state == ExportState.FAILED else None,
        "created_at": ids.time_of(export.pk),
        "finished_at": export.finished_at,
        "expires_at": export.expires_at,
    }


_NAMES = {"batch": "batch_id", "template": "template_id", "since": "created_after", "until": "created_before"}


def shown_filters(filters: Filters) -> dict[str, Any]:
    """By the names of GET /v1/notifications; what only the console can ask for has names of its own."""
    asked = filters.model_dump(exclude_defaults=True, exclude={"project", "account", "provider", "terms"})
    shown = {_NAMES.get(name, name): value for name, value in asked.items()}
    bound = accounts.by_id(filters.account or filters.provider or 0)
    if bound is not None:
        shown["provider"] = bound.account.code
    if filters.terms:
        shown["search"] = [f"{term.qualifier}:{term.value}".removeprefix(":") for term in filters.terms]
    return shown


def keep_until(export: Export, now: datetime) -> datetime | None:
    return now + timedelta(days=settings.EXPORT_DAYS) if export.expires else None
