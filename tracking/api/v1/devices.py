"""The native API, version 1: the register of devices. docs/devices.md describes it."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from tracking.api import json
from tracking.api.v1.views import View
from tracking.models import Scope
from tracking.services import device_list, devices


class Devices(View):
    """Register a device, or list those of the project, newest first."""

    scopes = {"GET": Scope.READ, "POST": Scope.SEND}

    def get(self, request: Request) -> HttpResponse:
        return json.answer(device_list.page(self.caller(request).project_id, request.query_params))

    def post(self, request: Request) -> HttpResponse:
        """201 for a new device; 200 for one that was known by its hwid or token: it is renewed."""
        project_id = self.caller(request).project_id
        device, new = devices.register(project_id=project_id, document=json.document(request))
        return json.answer(device_list.shape(device), 201 if new else 200)


class Device(View):
    """One device of the register."""

    scopes = {"GET": Scope.READ, "DELETE": Scope.SEND}
    http_method_names = ["get", "head", "delete"]

    def get(self, request: Request, device: str) -> HttpResponse:
        return json.answer(device_list.shape(device_list.find(self.caller(request).project_id, device)))

    def delete(self, request: Request, device: str) -> HttpResponse:
        device_list.find(self.caller(request).project_id, device).delete()
        return HttpResponse(status=204)
