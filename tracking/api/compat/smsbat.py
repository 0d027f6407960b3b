"""SMSBat's interface: its send and status requests, with its fields, words and errors. docs/smsbat.md tells its callers
what was vague there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

import orjson
from django.http import HttpResponse
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from tracking.api import json, problems
from tracking.api.authentication import Caller
from tracking.api.compat.smsbat_auth import BatAuthentication
from tracking.models import Scope
from tracking.services import smsbat_send, smsbat_status
from tracking.services.act import Missing
from tracking.smsbat_schema import CODES, Fault, Faulty


def refused(status: int, fault: Fault, headers: Mapping[str, str] | None = None) -> HttpResponse:
    answer = json.answer({"error": fault.shape()}, status)
    for name, value in (headers or {}).items():
        answer.headers[name] = value
    return answer


def handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """As that of the native API, in SMSBat's form."""
    if isinstance(error, Faulty):
        return refused(400, error.fault)
    native = problems.handler(error, context)
    if native is None:
        return None
    problem = orjson.loads(native.content)
    if isinstance(error, NotAuthenticated):  # the native API's ways are not known here
        problem["detail"] = "A key or a login is needed: the header X-Authorization-Key, or HTTP Basic."
    status = 400 if native.status_code == 422 else native.status_code
    kept = {name: native.headers[name] for name in ("WWW-Authenticate", "Retry-After") if name in native.headers}
    return refused(status, Fault(CODES.get(status, "REFUSED"), problem["detail"]), kept)


class View(APIView):
    """A resource of SMSBat's."""

    scopes: ClassVar[dict[str, Scope]] = {}
    authentication_classes = (BatAuthentication,)
    content_negotiation_class = json.OneFormat
    http_method_names = ["get", "post", "head"]

    def get_exception_handler(self) -> Any:
        return handler

    @staticmethod
    def caller(request: Request) -> Caller:
        assert isinstance(request.auth, Caller)  # HasScope lets nobody else through
        return request.auth


class Message(View):
    """What became of a message, and what it cost."""

    scopes = {"GET": Scope.READ}

    def get(self, request: Request, message: str) -> HttpResponse:
        try:
            found = smsbat_status.status(self.caller(request).project_id, UUID(message))
        except ValueError:
            raise Missing from None
        if found is None:
            raise Missing
        return json.answer(found)


class MessageList(View):
    """Hand messages in, up to 1,000 at a time, each by its own channel and with its own fallback."""

    scopes = {"POST": Scope.SEND}

    def post(self, request: Request) -> HttpResponse:
        return json.answer(smsbat_send.send(self.caller(request).sender, json.document(request)))


class Nowhere(View):
    """Every other address below /bat."""

    http_method_names = ["get", "post", "put", "patch", "delete", "head", "options"]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        return refused(404, Fault(CODES[404], "There is nothing at this address."))
