"""Exports: the form that asks for one, the list, and the page with progress, download and buttons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, audit, dry_run, filters, scope
from dashboard.admin.readonly import SHORT_ID, ReadOnlyAdmin
from dashboard.export_form import ExportForm
from dashboard.scope_form import as_text
from dashboard.templatetags.postroom import moment, tag
from tracking.export_columns import COLUMNS
from tracking.models import Export, ExportFormat, Project
from tracking.services import export_links, exports
from tracking.services.act import Refused

TONES = {
    "pending": ("pending", "○"),
    "processing": ("processing", "◔"),
    "completed": ("delivered", "✓"),
    "failed": ("failed", "✕"),
    "expired": ("", "⊘"),
}
FETCH_WITHIN = timedelta(minutes=5)
ADD, DELETE, DOWNLOAD = (f"tracking.{deed}_export" for deed in ("add", "delete", "download"))


@admin.register(Export)
class ExportAdmin(ReadOnlyAdmin):
    list_display = ("short_id", "project_code", "shown_state", "progress_shown", "kind", "size", "by", "created")
    empty_text = "None yet. Filter the list of messages and choose Export, or POST /v1/exports/delivery-data."

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["project"]
        for row in rows:
            row.code = known.get(row.project_id, "all")

    @admin.display(description="export")
    def short_id(self, export: Export) -> SafeString:
        return format_html('<span class="mono" title="{}">{}</span>', export.pk, str(export.pk)[:SHORT_ID])

    @admin.display(description="project")
    def project_code(self, export: Export) -> str:
        code: str = export.code  # type: ignore[attr-defined]
        return code

    @admin.display(description="state")
    def shown_state(self, export: Export) -> SafeString:
        tone, sign = TONES[export.state]
        return tag(tone, export.state, sign)

    @admin.display(description="progress")
    def progress_shown(self, export: Export) -> SafeString:
        return format_html('<span class="nowrap">{} rows · {} %</span>', f"{export.rows:,}", exports.percent(export))

    @admin.display(description="format")
    def kind(self, export: Export) -> str:
        return f"{export.format}{', gzip' if export.gzip else ''}"

    @admin.display(description="size")
    def size(self, export: Export) -> SafeString:
        return format_html('<span class="nowrap">{}</span>', filesizeformat(export.bytes))

    @admin.display(description="created")
    def created(self, export: Export) -> SafeString | str:
        return moment(export.created_at)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("plan/", view(self.plan), name="tracking_export_plan"),
            path("<uuid:pk>/progress/", view(self.progress), name="tracking_export_progress"),
            actions.url(self, "download", self._download, key="uuid", permission=DOWNLOAD),
            actions.url(self, "retry", self._retry, key="uuid", permission=ADD),
            actions.url(self, "remove", self._remove, key="uuid", permission=DELETE),
            *super().get_urls(),
        ]

    # --- asking for one

    def plan(self, request: HttpRequest) -> HttpResponse:
        """GET: what would be in it, and the form. POST: the form; it makes the export."""
        if not (self.has_view_permission(request) and request.user.has_perm(ADD)):
            raise PermissionDenied
        posted = request.method == "POST"
        query = QueryDict(request.POST.get("query", "")) if posted else request.GET
        form = ExportForm(request.POST) if posted else ExportForm(initial={"query": query.urlencode()})
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Export messages", "form": form}
        try:
            found = scope.read(query)
        except scope.BadScope as bad:
            context["wrong"] = bad.errors
        else:
            if posted and form.is_valid() and (made := self._start(request, found, form)):
                return redirect("admin:tracking_export_change", made.pk)
            counted = dry_run.count(found)
            context |= {"counted": counted, "query": found.query, "values": found.words, "columns": COLUMNS}
        return TemplateResponse(request, "admin/tracking/export/plan.html", context)

    def _start(self, request: HttpRequest, found: scope.Scope, form: ExportForm) -> Export | None:
        project = found.filters.project
        try:
            made = exports.request(
                project=Project.objects.get(pk=project) if project else None,
                filters=found.filters,
                by=request.user.get_username(),
                format=ExportFormat(form.cleaned_data["format"]),
                columns=form.cleaned_data["columns"],
                gzip=form.cleaned_data["gzip"],
                query=found.frozen,
            )
        except Refused as refused:
            form.add_error(None, f"Not started: {refused}.")
            return None
        said = {"format": made.format, "columns": ", ".join(made.columns)}
        audit.note(made, audit.CREATE, str(made), said)  # not the filter: it may name a recipient
        return made

    # --- one export

    def page(self, request: HttpRequest, found: Export) -> dict[str, Any]:
        return {
            "title": f"Export {str(found.pk)[:SHORT_ID]}",
            "values": scope.words_of(found.query) if found.query else _shown(found),
            **self._progress(request, found),
        }

    def progress(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """The piece of the page that follows the work."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        found = Export.objects.filter(pk=pk).first()
        if found is None:
            raise Http404
        return TemplateResponse(request, "admin/tracking/export/progress.html", self._progress(request, found))

    def _progress(self, request: HttpRequest, found: Export) -> dict[str, Any]:
        tone, sign = TONES[found.state]
        return {
            "export": found,
            "tone": tone,
            "sign": sign,
            "percent": exports.percent(found),
            "total": max(found.estimate or 0, found.rows),
            "available": found.available and not found.over(datetime.now(UTC)),
        }

    def _download(self, request: HttpRequest, found: Export) -> HttpResponse | None:
        now = datetime.now(UTC)
        if not found.available or found.over(now):
            notices.warning(request, "There is no file to download.")
            return None
        audit.note(found, audit.UPDATE, str(found), {"file": "downloaded"})
        return redirect(export_links.address(found, now, good_for=FETCH_WITHIN).path)

    def _retry(self, request: HttpRequest, found: Export) -> None:
        if exports.retry(found.pk):
            audit.note(found, audit.UPDATE, str(found), {"state": "tried again"})
            notices.success(request, "It goes on where it was.")
        else:
            notices.warning(request, f"Not done: the export is {found.state}.")

    def _remove(self, request: HttpRequest, found: Export) -> HttpResponse:
        name = str(found)
        exports.delete(found.pk)
        audit.note(found, audit.DELETE, name, {"file": "deleted"})
        notices.success(request, "The export and its file are deleted.")
        return redirect(reverse("admin:tracking_export_changelist"))


def _shown(found: Export) -> list[tuple[str, str]]:
    """The filter of one that an application asked for."""
    asked = exports.shape(found)["filters"]
    return [(name.replace("_", " ").capitalize(), as_text(value)) for name, value in asked.items()]
