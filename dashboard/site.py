"""The admin site: its name, its navigation, its first page, and who gets in. Django's default site (dashboard.apps)."""

from __future__ import annotations

import logging
import re
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.core.exceptions import BadRequest, FieldDoesNotExist, ValidationError
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse

from dashboard import overview_page, second_factor, second_factor_pages, system_page

log = logging.getLogger(__name__)

# What Django's admin raises where an address or a post was made by hand: an id, a choice or a look-up that is none.
MALFORMED = (ValidationError, FieldDoesNotExist, DataError, ValueError)
# Look-ups that no page offers and that fail in the database, or cost what the asker likes.
_LOOKUPS = re.compile(r"__(range|i?regex)$")

# The order of the navigation; what is not named here follows at its end.
NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Delivery",
        ("tracking.Message", "tracking.Batch", "dashboard.BulkOperation", "tracking.Export", "dashboard.SavedView"),
    ),
    ("Alerts", ("dashboard.Incident", "dashboard.AlertRule", "dashboard.AlertChannel")),
    ("Providers", ("providers.ProviderAccount", "providers.ErrorMapping", "tracking.Inbound", "tracking.Unmatched")),
    (
        "Recipients",
        ("tracking.Suppression", "tracking.Consent", "tracking.Device", "tracking.ChatChannel", "tracking.Erasure"),
    ),
    (
        "Applications",
        ("tracking.Project", "tracking.ApiKey", "tracking.Login", "tracking.Endpoint", "tracking.Delivery"),
    ),
    ("Installation", ("system", "tracking.Switch", "tracking.Retention", "auditlog.LogEntry")),
    ("People", ("auth.User", "auth.Group")),
)
TITLES = {"auditlog.LogEntry": "Audit log"}  # where a library's word would not be understood
# Libraries bring pages of their own. To edit a Schedule is to run code; the others show secrets.
HIDDEN = frozenset({"django_q", "otp_totp", "otp_static", "axes"})


class PostroomSite(AdminSite):
    site_header = "Postroom"
    site_title = "Postroom"
    index_title = "Overview"
    site_url = None
    enable_nav_sidebar = False  # templates/admin/base_site.html brings its own

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Every page of the admin comes by here: what cannot be read is answered 400."""

        @wraps(view)
        def read(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if unreadable(request):
                raise BadRequest
            try:
                answer: HttpResponseBase = view(request, *args, **kwargs)
            except MALFORMED as error:
                log.warning(
                    "a malformed request, or a fault of ours: %s %r", request.method, request.path, exc_info=True
                )
                raise BadRequest from error
            return answer

        return super().admin_view(read, cacheable)

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Whoever comes first or last: a page of ours stays, a library's gives way."""
        listed = model_or_iterable if isinstance(model_or_iterable, (list, tuple)) else [model_or_iterable]
        ours = admin_class is not None and admin_class.__module__.startswith("dashboard.")
        for model in (model for model in listed if model._meta.app_label not in HIDDEN):
            if self.is_registered(model):
                if not ours:
                    continue
                self.unregister(model)
            super().register(model, admin_class, **options)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        own: list[URLPattern | URLResolver] = [
            path("second-factor/", second_factor_pages.manage, name="second_factor"),
            path("second-factor/code/", second_factor_pages.ask, name="second_factor_code"),
            *(
                path(route, self.admin_view(view), name=name)
                for route, view, name in (*overview_page.ROUTES, *system_page.ROUTES)
            ),
        ]
        return own + super().get_urls()

    # --- who gets in

    def has_permission(self, request: HttpRequest) -> bool:
        return super().has_permission(request) and not second_factor.owed(request)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if super().has_permission(request) and second_factor.owed(request):
            goal = urlencode({"next": request.GET.get("next", "")})
            return redirect(f"{reverse('admin:second_factor_code')}?{goal}")
        response: HttpResponse = super().login(request, extra_context)
        if request.method == "POST" and request.user.is_authenticated:
            second_factor.remember(request)
        return response

    # --- what is shown

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {**overview_page.context(request), **(extra_context or {})}
        overview_page.notice_unknown(request)
        response = super().index(request, context)
        overview_page.with_zone(request, response, context["asked"])
        return response

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps: list[Any] = super().get_app_list(request, app_label)
        return apps if app_label else grouped(apps, system_page.entry(request))


def unreadable(request: HttpRequest) -> bool:
    return any(_LOOKUPS.search(name) for name in request.GET)


def grouped(apps: list[Any], *pages: dict[str, Any] | None) -> list[Any]:
    """The models of all apps, and pages that are none of a model, in the groups of NAVIGATION."""
    models = {
        f"{model['model']._meta.app_label}.{model['object_name']}": model for app in apps for model in app["models"]
    }
    for label, title in TITLES.items():
        if label in models:
            models[label] = {**models[label], "name": title}
    models |= {page["label"]: page for page in pages if page}
    groups = [
        {"name": name, "models": [models.pop(label) for label in labels if label in models]}
        for name, labels in NAVIGATION
    ]
    groups.append({"name": "Other", "models": list(models.values())})
    return [{**group, "app_label": str(group["name"]).lower(), "app_url": ""} for group in groups if group["models"]]
