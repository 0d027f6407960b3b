"""Addresses of the whole installation."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from dashboard import prometheus
from tracking import downloads, health, hooks

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("hooks/<str:token>", hooks.receive, name="hook"),
    path("downloads/exports/<str:token>", downloads.export, name="export-download"),
    path("api/", include("tracking.api.compat.socialplus.urls")),  # before an alias of the native API
    path("", include("tracking.visit_urls")),
    path("v1/", include("tracking.api.v1.urls")),
    path("api/v1/", include(("tracking.api.v1.urls", "chatapi"))),  # the same, where ChatAPI's clients look for it
    path("bat/", include("tracking.api.compat.smsbat_urls")),
    path("json/1.3/", include("tracking.api.compat.pushwoosh_urls")),
    path("metrics", prometheus.metrics, name="metrics"),
    path("healthz", health.process, name="healthz"),
    path("readyz", health.ready, name="readyz"),
]
