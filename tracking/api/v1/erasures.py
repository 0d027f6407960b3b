"""The native API, version 1: erasures of recipients. docs/retention.md describes them."""

from __future__ import annotations

import re

from django.http import HttpResponse
from rest_framework.request import Request

from tracking import erasure_schema
from tracking.api import json
from tracking.api.v1.views import View
from tracking.models import Project, Scope
from tracking.services import act, erase


class Erasures(View):
    """Erase everything about one recipient from the key's project."""

    scopes = {"POST": Scope.MANAGE}
    http_method_names = ["post"]

    def post(self, request: Request) -> HttpResponse:
        caller, wanted = self.caller(request), erasure_schema.new_erasure(json.document(request))
        project = Project.objects.get(pk=caller.project_id)
        by = f"key {caller.prefix}"
        erasure = erase.start(project=project, channel=wanted.channel, recipient=wanted.recipient, by=by)
        return json.answer(erase.shape(erasure), 202)


class Erasure(View):
    """The progress of an erasure, and once it is done, its certificate."""

    scopes = {"GET": Scope.MANAGE}
    http_method_names = ["get", "head"]

    def get(self, request: Request, erasure: str) -> HttpResponse:
        if not re.fullmatch(r"[0-9]{1,18}", erasure):
            raise act.Missing
        return json.answer(erase.shape(erase.find(int(erasure), project_id=self.caller(request).project_id)))
