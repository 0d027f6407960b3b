"""The dashboard as a Django app, and the admin that uses its site."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.contrib import admin
from django.contrib.admin import apps as admin_apps


class DashboardConfig(AppConfig):
    name = "dashboard"
    default = True


class PostroomAdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "dashboard.site.PostroomSite"

    def ready(self) -> None:
        super().ready()
        # django-q2 registers pages of its own; to edit a Schedule is to run code
        for model in apps.get_app_config("django_q").get_models():
            if admin.site.is_registered(model):
                admin.site.unregister(model)
