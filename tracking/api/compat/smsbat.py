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

from tracking.api import interfaces, json, problems
from tracking.api.authentication import Caller
from tracking.api.compat import smsbat_shapes as shapes
from tracking.api.compat.smsbat_auth import BatAuthentication
from tracking.api.describe import Operation
from tracking.models import Scope
from tracking.services import smsbat_send, smsbat_status
from tracking.services.act import Missing
from tracking.smsbat_schema import CODES, Fault, Faulty

_EXAMPLE = {
    "messages": [
        {"from": "Shop", "to": "+380501234567", "type": "sms", "text": "Your order is on its way"},
        {"from": "Shop", "to": "+38", "type": "sms", "text": "To a number that is none"},
    ]
}


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

    interface = interfaces.SMSBAT
    describes: ClassVar[dict[str, Operation]] = {}
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
    """With more fields where a fallback is configured."""

    scopes = {"GET": Scope.READ}
    describes = {"GET": Operation("What became of a message, and what it cost", shapes.BatStatus)}

    def get(self, request: Request, message: str) -> HttpResponse:
        try:
            found = smsbat_status.status(self.caller(request).project_id, UUID(message))
        except ValueError:
            raise Missing from None
        if found is None:
            raise Missing
        return json.answer(found)


class MessageList(View):
    """Each message has its own channel, fallback and answer; where none of them is right, the answer is 400."""

    scopes = {"POST": Scope.SEND}
    describes = {
        "POST": Operation(
            "Hand messages in, up to 1,000 at a time",
            shapes.BatMessagesTaken,
            body=shapes.BatMessages,
            example=_EXAMPLE,
        )
    }

    def post(self, request: Request) -> HttpResponse:
        return json.answer(smsbat_send.send(self.caller(request).sender, json.document(request)))


class Nowhere(View):
    """Every other address below /bat."""

    schema = None  # it is not described
    http_method_names = ["get", "post", "put", "patch", "delete", "head", "options"]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        return refused(404, Fault(CODES[404], "There is nothing at this address."))
