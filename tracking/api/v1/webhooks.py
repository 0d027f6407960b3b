"""The native API, version 1: webhook endpoints and what they were told. docs/webhooks.md describes it."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from tracking import endpoint_schema
from tracking.api import json
from tracking.api.describe import Operation
from tracking.api.v1 import webhook_shapes as shapes
from tracking.api.v1.views import View
from tracking.models import Endpoint, Scope
from tracking.services import act, deliveries, endpoints

_MANAGE = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), Scope.MANAGE)


class _View(View):
    scopes = _MANAGE

    def endpoint(self, request: Request, webhook: str) -> Endpoint:
        return endpoints.find(_number(webhook), project_id=self.caller(request).project_id)


class Webhooks(_View):
    describes = {
        "GET": Operation("List webhook endpoints", shapes.WebhookEndpoints),
        "POST": Operation(
            "Make a webhook endpoint",
            shapes.WebhookWithSecret,
            201,
            body=endpoint_schema.NewEndpoint,
            example={
                "url": "https://example.com/webhooks/delivery",
                "events": ["notification.delivered", "notification.failed", "notification.read"],
                "secret": "your_webhook_secret",
            },
        ),
    }

    def get(self, request: Request) -> HttpResponse:
        found = endpoints.of_project(self.caller(request).project_id)
        return json.answer({"webhooks": [endpoints.shape(each) for each in found]})

    def post(self, request: Request) -> HttpResponse:
        project_id = self.caller(request).project_id
        return _secret(*endpoints.create(project_id=project_id, document=json.document(request)), status=201)


class Webhook(_View):
    describes = {
        "GET": Operation("Look a webhook endpoint up", shapes.WebhookEndpoint),
        "PATCH": Operation(
            "Change a webhook endpoint",
            shapes.WebhookEndpoint,
            body=endpoint_schema.EndpointChanges,
            example={"description": "of the shop"},
        ),
        "DELETE": Operation("Delete a webhook endpoint", None, 204),
    }
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
    describes = {"POST": Operation("Switch a webhook endpoint on", shapes.WebhookEndpoint)}

    def post(self, request: Request, webhook: str) -> HttpResponse:
        endpoint = endpoints.activate(_number(webhook), project_id=self.caller(request).project_id)
        return json.answer(endpoints.shape(endpoint))


class Deactivate(_Deed):
    describes = {"POST": Operation("Switch a webhook endpoint off", shapes.WebhookEndpoint)}

    def post(self, request: Request, webhook: str) -> HttpResponse:
        endpoint = endpoints.deactivate(_number(webhook), project_id=self.caller(request).project_id)
        return json.answer(endpoints.shape(endpoint))


class RotateSecret(_Deed):
    """The secret before signs beside the new one for a while."""

    describes = {
        "POST": Operation(
            "Give a webhook endpoint a new secret",
            shapes.WebhookWithSecret,
            body=endpoint_schema.Rotation,
            example={"overlap_hours": 48},
        )
    }

    def post(self, request: Request, webhook: str) -> HttpResponse:
        project_id, document = self.caller(request).project_id, _optional(request)
        return _secret(*endpoints.rotate(_number(webhook), project_id=project_id, document=document))


class Test(_Deed):
    describes = {"POST": Operation("Call a webhook endpoint now", shapes.WebhookTest)}

    def post(self, request: Request, webhook: str) -> HttpResponse:
        return json.answer(endpoints.test(_number(webhook), project_id=self.caller(request).project_id))


class Replay(_Deed):
    describes = {
        "POST": Operation(
            "Tell a period's deliveries again",
            shapes.Replayed,
            202,
            body=endpoint_schema.Period,
            example={"since": "2026-03-01T00:00:00Z", "until": "2026-03-02T00:00:00Z"},
        )
    }

    def post(self, request: Request, webhook: str) -> HttpResponse:
        endpoint = self.endpoint(request, webhook)
        return json.answer(deliveries.replay_period(endpoint, json.document(request)), 202)


class Deliveries(_View):
    describes = {
        "GET": Operation(
            "List what an endpoint was told", shapes.WebhookDeliveries, query=endpoint_schema.DeliveryQuery
        )
    }
    http_method_names = ["get", "head"]

    def get(self, request: Request, webhook: str) -> HttpResponse:
        return json.answer(deliveries.page(self.endpoint(request, webhook), self.query(request)))


class Delivery(_View):
    describes = {"GET": Operation("Look a delivery up", shapes.WebhookDelivery)}
    http_method_names = ["get", "head"]

    def get(self, request: Request, webhook: str, delivery: str) -> HttpResponse:
        return _shown(self.endpoint(request, webhook), delivery)


class DeliveryReplay(_Deed):
    describes = {"POST": Operation("Tell a delivery again", shapes.WebhookDelivery, 202)}

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
