"""The native API, version 1: the register of devices. docs/devices.md describes it."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from tracking import device_schema
from tracking.api import json
from tracking.api.describe import Operation
from tracking.api.v1.device_shapes import DevicePage, RegisteredDevice
from tracking.api.v1.views import View
from tracking.models import Scope
from tracking.services import device_list, devices


class Devices(View):
    scopes = {"GET": Scope.READ, "POST": Scope.SEND}
    describes = {
        "GET": Operation("List devices, newest first", DevicePage, query=device_schema.DeviceQuery),
        "POST": Operation(
            "Register a device, or renew one that is known by its hwid or token",
            RegisteredDevice,
            201,
            also={200: RegisteredDevice},
            body=device_schema.DeviceRequest,
            example={"platform": "android", "token": "f4JtDeviceToken", "user_id": "ada", "tags": {"plan": "pro"}},
        ),
    }

    def get(self, request: Request) -> HttpResponse:
        return json.answer(device_list.page(self.caller(request).project_id, self.query(request)))

    def post(self, request: Request) -> HttpResponse:
        """201 for a new device; 200 for one that was known by its hwid or token: it is renewed."""
        project_id = self.caller(request).project_id
        device, new = devices.register(project_id=project_id, document=json.document(request))
        return json.answer(device_list.shape(device), 201 if new else 200)


class Device(View):
    scopes = {"GET": Scope.READ, "DELETE": Scope.SEND}
    describes = {
        "GET": Operation("Look a device up", RegisteredDevice),
        "DELETE": Operation("Take a device off the register", None, 204),
    }
    http_method_names = ["get", "head", "delete"]

    def get(self, request: Request, device: str) -> HttpResponse:
        return json.answer(device_list.shape(device_list.find(self.caller(request).project_id, device)))

    def delete(self, request: Request, device: str) -> HttpResponse:
        device_list.find(self.caller(request).project_id, device).delete()
        return HttpResponse(status=204)
