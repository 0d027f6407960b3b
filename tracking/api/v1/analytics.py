"""The native API, version 1: the numbers of a key's own project. docs/api.md describes it."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from tracking.api import json
from tracking.api.describe import Operation
from tracking.api.v1.analytics_shapes import DeliveryMetricsAnswer, PerformanceAnswer, ProvidersAnswer
from tracking.api.v1.views import View
from tracking.models import Scope
from tracking.services import analytics
from tracking.services.analytics import MetricsQuery, PeriodQuery


class _Numbers(View):
    scopes = {"GET": Scope.READ}
    http_method_names = ["get", "head"]


class DeliveryMetrics(_Numbers):
    """By the time at which messages were made, or by one of their properties. Days are those of the time zone, both
    inclusive; a first or last week or month counts only what lies between them."""

    describes = {"GET": Operation("Delivery metrics", DeliveryMetricsAnswer, query=MetricsQuery)}

    def get(self, request: Request) -> HttpResponse:
        project_id, asked = self.caller(request).project_id, self.query(request)
        return json.answer(analytics.delivery_metrics(project_id, asked))


class Providers(_Numbers):
    """The project's providers side by side: rates, percentiles, classes of failures and bounces."""

    describes = {"GET": Operation("Compare providers", ProvidersAnswer, query=PeriodQuery)}

    def get(self, request: Request) -> HttpResponse:
        return json.answer(analytics.providers(self.caller(request).project_id, self.query(request)))


class Performance(_Numbers):
    """Key figures to date, matured (of cohorts older than their provider's p95 delivery time) and of the same time
    before."""

    describes = {"GET": Operation("Key figures", PerformanceAnswer, query=PeriodQuery)}

    def get(self, request: Request) -> HttpResponse:
        return json.answer(analytics.performance(self.caller(request).project_id, self.query(request)))
