"""The native API, version 1: exports. docs/exports.md describes them."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.urls import path
from rest_framework.request import Request

from tracking import export_schema
from tracking.api import json
from tracking.api.describe import Operation
from tracking.api.problems import Problem
from tracking.api.v1 import export_shapes as shapes
from tracking.api.v1.views import View
from tracking.models import Export as Row
from tracking.models import Scope
from tracking.paging import KeyPageQuery
from tracking.services import act, export_requests, exports


class Exports(View):
    scopes = {"GET": Scope.READ}
    describes = {"GET": Operation("List exports, newest first", shapes.ExportPage, query=KeyPageQuery)}
    http_method_names = ["get", "head"]

    def get(self, request: Request) -> HttpResponse:
        return json.answer(export_requests.page(self.caller(request).project_id, self.query(request)))


class DeliveryData(View):
    """A `webhook_url` is called, with a signature, when the file is complete; it needs the scope `manage`."""

    scopes = {"POST": Scope.READ}
    describes = {
        "POST": Operation(
            "Ask for a file with the messages of a period",
            shapes.ExportTaken,
            202,
            body=export_schema.NewExport,
            example={
                "format": "csv",
                "start_date": "2026-03-01",
                "end_date": "2026-03-31",
                "filters": {"status": ["failed", "bounced"]},
            },
        )
    }
    http_method_names = ["post"]

    def post(self, request: Request) -> HttpResponse:
        caller = self.caller(request)
        try:
            made = export_requests.create(
                project_id=caller.project_id,
                document=json.document(request),
                by=f"API key {caller.prefix}",
                may_manage=Scope.MANAGE in caller.scopes,
            )
        except export_requests.NotAllowed:
            raise Problem(403, "missing-scope", "A webhook_url needs a key with the scope `manage`.") from None
        answer = json.answer(made, 202)
        answer["Cache-Control"] = "no-store"  # it may show a secret
        return answer


class Export(View):
    scopes = {"GET": Scope.READ, "DELETE": Scope.MANAGE}
    describes = {
        "GET": Operation("How far an export is, and where its file can be fetched", shapes.ExportStatus),
        "DELETE": Operation("Delete an export and its file", None, 204),
    }
    http_method_names = ["get", "head", "delete"]

    def get(self, request: Request, export: str) -> HttpResponse:
        return json.answer(exports.shape(self._found(request, export)))

    def delete(self, request: Request, export: str) -> HttpResponse:
        exports.delete(self._found(request, export).pk)
        return HttpResponse(status=204)

    def _found(self, request: Request, export: str) -> Row:
        try:
            key = UUID(export)
        except ValueError:
            raise act.Missing from None
        return exports.find(key, project_id=self.caller(request).project_id)


urlpatterns = [
    path("exports", Exports.as_view(), name="exports"),
    path("exports/delivery-data", DeliveryData.as_view(), name="export-delivery-data"),
    path("exports/<str:export>", Export.as_view(), name="export"),
]
