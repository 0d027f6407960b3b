"""Erasures: ask for one, follow it, and the certificates of those that are done."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import audit, filters
from dashboard.admin.readonly import ReadOnlyAdmin
from dashboard.retention_forms import ErasureForm
from dashboard.templatetags.postroom import moment, tag
from tracking.models import Erasure, ErasureState
from tracking.services import erase


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    list_display = ("name", "project_code", "channel", "by", "messages", "state_tag", "created")
    list_filter = (filters.ProjectScanFilter, filters.ChannelFilter)
    empty_text = "Nobody has been erased."

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("tracking.add_erasure"))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a certificate is never edited

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["project"]
        for row in rows:
            row.code = known.get(row.project_id, "")

    @admin.display(description="erasure")
    def name(self, erasure: Erasure) -> str:
        return str(erasure)

    @admin.display(description="project")
    def project_code(self, erasure: Erasure) -> str:
        code: str = erasure.code  # type: ignore[attr-defined]
        return code

    @admin.display(description="messages")
    def messages(self, erasure: Erasure) -> SafeString:
        return format_html('<span class="number">{}</span>', f"{erasure.counts.get('message', 0):,}")

    @admin.display(description="state")
    def state_tag(self, erasure: Erasure) -> SafeString:
        done = erasure.state == ErasureState.DONE
        return tag("delivered", "done", "✓") if done else tag("processing", f"{erase.percent(erasure)} %", "◔")

    @admin.display(description="asked for")
    def created(self, erasure: Erasure) -> SafeString | str:
        return moment(erasure.created_at)

    def page(self, request: HttpRequest, found: Erasure) -> dict[str, Any]:
        return {
            "title": str(found).capitalize(),
            "percent": erase.percent(found),
            "step": erase.step_name(found),
            "running": found.state == ErasureState.RUNNING,
            "hash": bytes(found.address_hash).hex(),
            "counts": sorted((name, count) for name, count in found.counts.items() if count),
        }

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        answer = super().change_view(request, object_id, form_url, extra_context)
        if isinstance(answer, TemplateResponse) and (answer.context_data or {}).get("running"):
            answer["Refresh"] = "2"
        return answer

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ErasureForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            wanted = form.cleaned_data
            erasure = erase.start(**wanted, by=request.user.get_username())
            said = {"project": wanted["project"].code, "channel": wanted["channel"]}
            audit.note(erasure, audit.CREATE, str(erasure), said)
            notices.success(request, "It starts as soon as a worker takes it. What waits to be sent is cancelled.")
            return redirect("admin:tracking_erasure_change", erasure.pk)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Erase a recipient",
            "form": form,
        }
        return TemplateResponse(request, "admin/tracking/erasure/add.html", context)
