"""The native API, version 1: the numbers of a key's own project. docs/api.md describes it."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from tracking.api import json
from tracking.api.v1.views import View
from tracking.models import Scope
from tracking.services import analytics


class _Numbers(View):
    scopes = {"GET": Scope.READ}
    http_method_names = ["get", "head"]


class DeliveryMetrics(_Numbers):
    """Delivery metrics by time, provider, channel, project, template or category."""

    def get(self, request: Request) -> HttpResponse:
        project_id, asked = self.caller(request).project_id, request.query_params.dict()
        return json.answer(analytics.delivery_metrics(project_id, asked))


class Providers(_Numbers):
    """The project's providers side by side: rates, percentiles, classes of failures and bounces."""

    def get(self, request: Request) -> HttpResponse:
        return json.answer(analytics.providers(self.caller(request).project_id, request.query_params.dict()))


class Performance(_Numbers):
    """Key figures to date, matured and of the same time before."""

    def get(self, request: Request) -> HttpResponse:
        return json.answer(analytics.performance(self.caller(request).project_id, request.query_params.dict()))
