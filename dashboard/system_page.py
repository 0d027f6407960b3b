"""The system page: is the installation itself well, and what can be stopped. Its addresses are in dashboard.site."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from dashboard import system
from tracking import jobs
from tracking.models import Project
from tracking.services import check_run, hold

VIEW = "tracking.view_checkrun"
CHECK, PAUSE_ALL, PAUSE_PROJECT = "tracking.add_checkrun", "tracking.change_switch", "tracking.pause_project"


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    _needs(request, VIEW)
    may = request.user.has_perm
    context = {
        **admin.site.each_context(request),
        "title": "System",
        "live": system.live(),
        "still": system.still(),
        "may_check": may(CHECK),
        "may_pause": may(PAUSE_ALL),
        "may_pause_project": may(PAUSE_PROJECT),
        "reason_length": hold.REASON_LENGTH,
    }
    return TemplateResponse(request, "admin/system.html", context)


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """The part that htmx asks for again."""
    _needs(request, VIEW)
    return TemplateResponse(
        request, "admin/system_live.html", {"live": system.live()}, headers={"Cache-Control": "no-store"}
    )


@require_POST
def pause(request: HttpRequest) -> HttpResponse:
    _needs(request, PAUSE_ALL)
    return _paused(request, lambda reason: hold.pause(reason=reason), "All sending")


@require_POST
def resume(request: HttpRequest) -> HttpResponse:
    _needs(request, PAUSE_ALL)
    return _resumed(request, hold.resume(), "Sending")


@require_POST
def pause_project(request: HttpRequest, pk: int) -> HttpResponse:
    _needs(request, PAUSE_PROJECT)
    project = _project(pk)
    return _paused(request, lambda reason: hold.pause_project(project_id=pk, reason=reason), f"Sending of {project}")


@require_POST
def resume_project(request: HttpRequest, pk: int) -> HttpResponse:
    _needs(request, PAUSE_PROJECT)
    project = _project(pk)
    return _resumed(request, hold.resume_project(project_id=pk), f"Sending of {project}")


@require_POST
def check(request: HttpRequest) -> HttpResponse:
    _needs(request, CHECK)
    if check_run.running():
        notices.warning(request, "A check is running already.")
    else:
        jobs.later("tracking.tasks.nightly_check")
        notices.success(request, "The check starts as soon as a worker takes it; its result is shown here.")
    return redirect("admin:system")


ROUTES = (
    ("system/", page, "system"),
    ("system/live/", live, "system_live"),
    ("system/pause/", pause, "system_pause"),
    ("system/resume/", resume, "system_resume"),
    ("system/projects/<int:pk>/pause/", pause_project, "system_pause_project"),
    ("system/projects/<int:pk>/resume/", resume_project, "system_resume_project"),
    ("system/check/", check, "system_check"),
)


def entry(request: HttpRequest) -> dict[str, Any] | None:
    """The page's line in the navigation, for those who may see it."""
    if not request.user.has_perm(VIEW):
        return None
    return {"label": "system", "name": "System", "object_name": "System", "admin_url": reverse("admin:system")}


def _needs(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def _project(pk: int) -> Project:
    found = Project.objects.filter(pk=pk).first() if pk < 2**63 else None
    if found is None:
        raise Http404
    return found


def _paused(request: HttpRequest, deed: Any, what: str) -> HttpResponse:
    try:
        done = deed(request.POST.get("reason", "").replace("\0", ""))
    except hold.NeedsReason:
        notices.error(request, "Reason: say why, for whoever finds sending paused.")
    else:
        if done:
            notices.success(request, f"{what} is paused; messages are taken in and queued.")
        else:
            notices.warning(request, f"{what} was paused already.")
    return redirect("admin:system")


def _resumed(request: HttpRequest, done: bool, what: str) -> HttpResponse:
    if done:
        notices.success(request, f"{what} goes on.")
    else:
        notices.warning(request, f"{what} was not paused.")
    return redirect("admin:system")
