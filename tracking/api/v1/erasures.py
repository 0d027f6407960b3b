"""The native API, version 1: erasures of recipients. docs/retention.md describes them."""

from __future__ import annotations

import re

from django.http import HttpResponse
from rest_framework.request import Request

from tracking import erasure_schema
from tracking.api import json
from tracking.api.describe import Operation
from tracking.api.v1.erasure_shapes import Certificate
from tracking.api.v1.views import View
from tracking.models import Project, Scope
from tracking.services import act, erase


class Erasures(View):
    """From the key's project, and for good. What waits to be sent to them is cancelled."""

    scopes = {"POST": Scope.MANAGE}
    describes = {
        "POST": Operation(
            "Erase everything about one recipient",
            Certificate,
            202,
            body=erasure_schema.NewErasure,
            example={"channel": "email", "recipient": "ada@example.org"},
        )
    }
    http_method_names = ["post"]

    def post(self, request: Request) -> HttpResponse:
        caller, wanted = self.caller(request), erasure_schema.new_erasure(json.document(request))
        project = Project.objects.get(pk=caller.project_id)
        by = f"key {caller.prefix}"
        erasure = erase.start(project=project, channel=wanted.channel, recipient=wanted.recipient, by=by)
        return json.answer(erase.shape(erasure), 202)


class Erasure(View):
    scopes = {"GET": Scope.MANAGE}
    describes = {"GET": Operation("The progress of an erasure, and its certificate", Certificate)}
    http_method_names = ["get", "head"]

    def get(self, request: Request, erasure: str) -> HttpResponse:
        if not re.fullmatch(r"[0-9]{1,18}", erasure):
            raise act.Missing
        return json.answer(erase.shape(erase.find(int(erasure), project_id=self.caller(request).project_id)))
