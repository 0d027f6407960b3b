"""Addresses of the whole installation."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from dashboard import prometheus
from tracking import health, hooks

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("hooks/<str:token>", hooks.receive, name="hook"),
    path("", include("tracking.visit_urls")),
    path("v1/", include("tracking.api.v1.urls")),
    path("metrics", prometheus.metrics, name="metrics"),
    path("healthz", health.process, name="healthz"),
    path("readyz", health.ready, name="readyz"),
]
