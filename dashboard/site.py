"""The admin site: its name, its navigation, its first page. Used as Django's default site (dashboard.apps)."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

from dashboard import overview

# The order of the navigation; what is not named here follows at its end.
NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Delivery", ("tracking.Message", "tracking.Batch")),
    ("Providers", ("providers.ProviderAccount", "providers.ErrorMapping", "tracking.Inbound", "tracking.Unmatched")),
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

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {"overview": overview.read(request.user), **(extra_context or {})}
        return super().index(request, context)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps: list[Any] = super().get_app_list(request, app_label)
        return apps if app_label else grouped(apps)


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
