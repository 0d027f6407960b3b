"""The dashboard as a Django app, and the admin that uses its site."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class DashboardConfig(AppConfig):
    name = "dashboard"
    default = True

    def ready(self) -> None:
        jobs = import_module("tracking.jobs")  # has models: not before all apps are loaded
        erasing = import_module("dashboard.erasing")
        import_module("tracking.services.erase").register("console", erasing.step)
        jobs.register(
            jobs.Job("bulk_tick", 1, "goes on with bulk operations whose worker died", module="dashboard.tasks"),
            jobs.Job("alert_tick", 1, "evaluates alert rules, sends notifications again", module="dashboard.tasks"),
            jobs.Job("alert_prune", 60, "forgets what alert rules saw two weeks ago", module="dashboard.tasks"),
        )


class PostroomAdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "dashboard.site.PostroomSite"
