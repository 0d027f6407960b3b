"""Retention: the policies of projects, what the next purge takes, and what purges did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe

from dashboard import telling
from dashboard.retention_forms import RetentionForm
from tracking import jobs, retention
from tracking.models import Plan, Project, PurgeRun, Retention
from tracking.services import purge, purge_plan

TEMPLATES = "admin/tracking/retention/"
RUNS = 30  # shown
RUN_NOW = "tracking.add_purgerun"


@admin.register(Retention)
class RetentionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A page for each project: its policy is there whether or not it has a row."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Retention | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("run/", view(self.run_now), name="tracking_retention_run"),
            path("run/<int:pk>/", view(self.run), name="tracking_retention_purge"),
            *super().get_urls(),
        ]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Retention | None:
        if not (object_id.isascii() and object_id.isdecimal() and len(object_id) < 19):
            return None
        project = Project.objects.filter(pk=int(object_id)).first()
        return None if project is None else _of(project, Retention.objects.filter(project=project).first())

    def _frame(self, request: HttpRequest, **context: Any) -> dict[str, Any]:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        can = {"can_change": self.has_change_permission(request), "can_run": request.user.has_perm(RUN_NOW)}
        return {**self.admin_site.each_context(request), "opts": self.opts, **can, **context}

    @method_decorator(require_safe)
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = self._frame(request, title="Retention")
        telling.check(request)
        own = Retention.objects.in_bulk()
        projects = [
            (project, _of(project, own.get(project.pk)), project.pk in own) for project in Project.objects.all()
        ]
        context |= {
            "projects": projects,
            "preview": purge_plan.preview(datetime.now(UTC), quick=True),
            "runs": PurgeRun.objects.all()[:RUNS],
            "waits": PurgeRun.objects.filter(finished_at=None).exists(),
        }
        return TemplateResponse(request, f"{TEMPLATES}list.html", context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        found = self.get_object(request, object_id) if object_id else None
        context = self._frame(request)
        if found is None:
            raise Http404
        if request.method == "POST" and not context["can_change"]:
            raise PermissionDenied
        form = RetentionForm(request.POST or None, instance=found)
        if request.method == "POST" and form.is_valid():
            stored = form.save()
            self.log_change(request, stored, f"{stored.days} days, content {stored.content_days} days.")
            notices.success(request, f"The next purge keeps {stored.project} to it.")
            return redirect("admin:tracking_retention_changelist")
        context |= {"title": f"Retention of {found.project}", "form": form, "original": found}
        return TemplateResponse(request, f"{TEMPLATES}form.html", context)

    def run_now(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(RUN_NOW):
            raise PermissionDenied
        with transaction.atomic():
            run = purge.start(by=request.user.get_username())
            if run is None:
                notices.warning(request, "A purge is at work already.")
                return redirect("admin:tracking_retention_changelist")
            jobs.later(purge.TASK, run.pk)
        notices.success(request, "The purge starts as soon as a worker takes it.")
        return redirect("admin:tracking_retention_purge", run.pk)

    @method_decorator(require_safe)
    def run(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What one purge did. The page loads itself again while it goes on."""
        run = PurgeRun.objects.filter(pk=pk).first() if pk < 2**63 else None
        context = self._frame(request, title=str(run).capitalize(), run=run)
        if run is None:
            raise Http404
        context["counts"] = [(code, sorted(counts.items())) for code, counts in sorted(run.counts.items())]
        headers = {} if run.finished_at else {"Refresh": "2"}
        return TemplateResponse(request, f"{TEMPLATES}run.html", context, headers=headers)


def _of(project: Project, stored: Retention | None) -> Retention:
    """Its policy, or what holds without one."""
    if stored is not None:
        stored.project = project
        return stored
    usual = retention.default()
    plan = next((plan for plan, days in retention.PLAN_DAYS.items() if days == usual.messages), Plan.CUSTOM)
    return Retention(project=project, plan=plan, days=usual.messages, content_days=usual.contents)
