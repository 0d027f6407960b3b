"""The admin site: its name, its navigation, its first page. Used as Django's default site (dashboard.apps)."""

from __future__ import annotations

import logging
import re
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import BadRequest, FieldDoesNotExist, ValidationError
from django.db import DataError
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse

from dashboard import overview

log = logging.getLogger(__name__)

# What Django's admin raises where an address or a post was made by hand: an id, a choice or a look-up that is none.
MALFORMED = (ValidationError, FieldDoesNotExist, DataError, ValueError)
# Look-ups that no page offers and that fail in the database, or cost what the asker likes.
_LOOKUPS = re.compile(r"__(range|i?regex)$")

# The order of the navigation; what is not named here follows at its end.
NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Delivery", ("tracking.Message", "tracking.Batch")),
    ("Providers", ("providers.ProviderAccount", "tracking.Inbound", "tracking.Unmatched")),
    ("Applications", ("tracking.Project", "tracking.ApiKey")),
    ("Control", ("tracking.Suppression", "tracking.Switch")),
    ("People", ("auth.User", "auth.Group")),
)


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

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {"overview": overview.read(request.user), **(extra_context or {})}
        return super().index(request, context)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps: list[Any] = super().get_app_list(request, app_label)
        return apps if app_label else grouped(apps)


def unreadable(request: HttpRequest) -> bool:
    return any(_LOOKUPS.search(name) for name in request.GET)


def grouped(apps: list[Any]) -> list[Any]:
    """The models of all apps in the groups of NAVIGATION."""
    models = {
        f"{model['model']._meta.app_label}.{model['object_name']}": model for app in apps for model in app["models"]
    }
    groups = [
        {"name": name, "models": [models.pop(label) for label in labels if label in models]}
        for name, labels in NAVIGATION
    ]
    groups.append({"name": "Other", "models": list(models.values())})
    return [{**group, "app_label": str(group["name"]).lower(), "app_url": ""} for group in groups if group["models"]]
