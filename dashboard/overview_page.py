"""The overview's addresses: the page itself, the part of it that is refreshed, the button of an empty installation.
Called by the site."""

from __future__ import annotations

from typing import Any

from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET, require_POST

from dashboard import first_steps, overview, overview_form
from dashboard.overview_form import ZONE_COOKIE, Asked, OverviewForm
from tracking.metrics import DEFINITIONS

LOADING = "sample"  # in the session of who has pressed the button: with which moment the history ends
MAY_LOAD = ("tracking.add_project", "providers.add_provideraccount", "dashboard.add_alertrule")
BESIDE = frozenset({"e"})  # Django's admin says by it that a list's address was wrong
NAMED = 5  # unknown filters, at most
A_YEAR = 365 * 86_400


def context(request: HttpRequest) -> dict[str, Any]:
    asked = overview_form.read(request)
    found = overview.read(request.user, asked)
    if until := request.session.get(LOADING):
        found.sample = first_steps.progress(until)
    return {
        "o": found,
        "asked": asked,
        "form": asked.form,
        "zones": overview_form.OFFERED,
        "definitions": DEFINITIONS,
        "may_load": _may_load(request),
    }


def notice_unknown(request: HttpRequest) -> None:
    """Filters that there are not are left out, with a word about it."""
    for name in sorted(set(request.GET) - set(OverviewForm.base_fields) - BESIDE)[:NAMED]:
        notices.warning(request, f"There is no filter “{name[:50]}”: it was left out.")


def with_zone(request: HttpRequest, response: HttpResponse, asked: Asked) -> None:
    """The browser keeps the time zone that was chosen."""
    if request.GET.get("tz") and asked.form.is_valid():
        response.set_cookie(ZONE_COOKIE, asked.zone.key, max_age=A_YEAR, samesite="Lax")


@require_GET
def live(request: HttpRequest) -> HttpResponse:
    """What is refreshed every few seconds."""
    response = TemplateResponse(request, "admin/overview/live.html", context(request))
    response["Cache-Control"] = "no-store"
    return response


@require_POST
def load_sample(request: HttpRequest) -> HttpResponse:
    if not _may_load(request):
        raise PermissionDenied
    if until := first_steps.begin():
        request.session[LOADING] = until
        notices.success(request, "Sample traffic is being loaded: the page fills by itself.")
    else:
        notices.warning(request, "There are messages already: sample traffic is for an empty installation.")
    return redirect("admin:index")


def _may_load(request: HttpRequest) -> bool:
    return all(request.user.has_perm(each) for each in MAY_LOAD)


ROUTES = (
    ("overview/live/", live, "overview_live"),
    ("overview/sample/", load_sample, "overview_sample"),
)
