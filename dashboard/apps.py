"""The dashboard as a Django app, and the admin that uses its site."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class DashboardConfig(AppConfig):
    name = "dashboard"
    default = True


class PostroomAdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "dashboard.site.PostroomSite"
