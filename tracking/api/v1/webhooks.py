"""The native API, version 1: webhook endpoints and what they were told. docs/webhooks.md describes it."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from tracking.api import json
from tracking.api.v1.views import View
from tracking.models import Endpoint, Scope
from tracking.services import act, deliveries, endpoints

_MANAGE = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), Scope.MANAGE)


class _View(View):
    scopes = _MANAGE

    def endpoint(self, request: Request, webhook: str) -> Endpoint:
        return endpoints.find(_number(webhook), project_id=self.caller(request).project_id)


class Webhooks(_View):
    def get(self, request: Request) -> HttpResponse:
        found = endpoints.of_project(self.caller(request).project_id)
        return json.answer({"webhooks": [endpoints.shape(each) for each in found]})

    def post(self, request: Request) -> HttpResponse:
        project_id = self.caller(request).project_id
        return _secret(*endpoints.create(project_id=project_id, document=json.document(request)), status=201)


class Webhook(_View):
    http_method_names = ["get", "head", "patch", "delete"]

    def get(self, request: Request, webhook: str) -> HttpResponse:
        return json.answer(endpoints.shape(self.endpoint(request, webhook)))

    def patch(self, request: Request, webhook: str) -> HttpResponse:
        project_id, document = self.caller(request).project_id, json.document(request)
        changed = endpoints.change(_number(webhook), project_id=project_id, document=document)
        return json.answer(endpoints.shape(changed))

    def delete(self, request: Request, webhook: str) -> HttpResponse:
        endpoints.delete(_number(webhook), project_id=self.caller(request).project_id)
        return HttpResponse(status=204)


class _Deed(_View):
    http_method_names = ["post"]


class Activate(_Deed):
    def post(self, request: Request, webhook: str) -> HttpResponse:
        endpoint = endpoints.activate(_number(webhook), project_id=self.caller(request).project_id)
        return json.answer(endpoints.shape(endpoint))


class Deactivate(_Deed):
    def post(self, request: Request, webhook: str) -> HttpResponse:
        endpoint = endpoints.deactivate(_number(webhook), project_id=self.caller(request).project_id)
        return json.answer(endpoints.shape(endpoint))


class RotateSecret(_Deed):
    def post(self, request: Request, webhook: str) -> HttpResponse:
        project_id, document = self.caller(request).project_id, _optional(request)
        return _secret(*endpoints.rotate(_number(webhook), project_id=project_id, document=document))


class Test(_Deed):
    def post(self, request: Request, webhook: str) -> HttpResponse:
        return json.answer(endpoints.test(_number(webhook), project_id=self.caller(request).project_id))


class Replay(_Deed):
    def post(self, request: Request, webhook: str) -> HttpResponse:
        endpoint = self.endpoint(request, webhook)
        return json.answer(deliveries.replay_period(endpoint, json.document(request)), 202)


class Deliveries(_View):
    http_method_names = ["get", "head"]

    def get(self, request: Request, webhook: str) -> HttpResponse:
        return json.answer(deliveries.page(self.endpoint(request, webhook), request.query_params.dict()))


class Delivery(_View):
    http_method_names = ["get", "head"]

    def get(self, request: Request, webhook: str, delivery: str) -> HttpResponse:
        return _shown(self.endpoint(request, webhook), delivery)


class DeliveryReplay(_Deed):
    def post(self, request: Request, webhook: str, delivery: str) -> HttpResponse:
        endpoint = self.endpoint(request, webhook)
        deliveries.replay(deliveries.find(endpoint, _key(delivery)))
        return _shown(endpoint, delivery, 202)


def _secret(endpoint: Endpoint, secret: str, status: int = 200) -> HttpResponse:
    """The only answers that show a secret: nobody on the way keeps them."""
    answer = json.answer(endpoints.with_secret(endpoint, secret), status)
    answer["Cache-Control"] = "no-store"
    return answer


def _shown(endpoint: Endpoint, delivery: str, status: int = 200) -> HttpResponse:
    (shape,) = deliveries.shapes([deliveries.find(endpoint, _key(delivery))])
    return json.answer(shape, status)


def _optional(request: Request) -> Any:
    """The request's JSON; a request without a body means {}."""
    empty = request.META.get("CONTENT_LENGTH") in (None, "", "0")
    return {} if empty and "HTTP_TRANSFER_ENCODING" not in request.META else json.document(request)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise act.Missing
    return int(text)


def _key(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise act.Missing from None
