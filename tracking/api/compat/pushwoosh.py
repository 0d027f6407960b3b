"""Pushwoosh's API 1.3, as far as its push tracking needs it. docs/pushwoosh.md says what differs.

The result stands in the body's `status_code`; HTTP says 200, but where the request could not be read at all.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from rest_framework.exceptions import APIException, Throttled
from rest_framework.request import Request
from rest_framework.views import APIView

from tracking import jobs
from tracking import pushwoosh_schema as schema
from tracking.api import interfaces, json, throttle
from tracking.api.authentication import Caller, caller_of
from tracking.api.compat import pushwoosh_shapes as shapes
from tracking.api.describe import Operation
from tracking.api.problems import Problem
from tracking.clock import ClockWrong
from tracking.models import LogState, PushwooshSettings, Scope
from tracking.schema import Invalid
from tracking.services import push_log, pushwoosh
from tracking.services.idempotency import Overtaken, Reused

OK, WORKING, WRONG, FORBIDDEN, AGAIN = 200, 202, 210, 403, 503
_FORBIDDEN = "Token restrictions forbid this operation"
# of the documentation: requests that are taken, with a key and names of the caller's own
_AUTH, _APPLICATION = "pr_abc_secret", "C90C0-0E786"
_DEVICE = {"auth": _AUTH, "application": _APPLICATION, "hwid": "8f65b16df378e7a6bece9614e1530fb2"}


class Refused(Exception):
    """What the client is told instead of a result."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def answer(response: Any, code: int = OK, message: str = "OK", status: int = 200) -> HttpResponse:
    found = json.answer({"status_code": code, "status_message": message, "response": response}, status)
    found["Cache-Control"] = "no-store"
    return found


class Method(APIView):
    """One method. Whoever may not use it is told no more than that, whatever the reason."""

    interface = interfaces.PUSHWOOSH
    describes: ClassVar[dict[str, Operation]] = {}
    authentication_classes = ()  # the key stands in the body
    permission_classes = ()
    content_negotiation_class = json.OneFormat
    http_method_names = ["post"]

    def handle_exception(self, exc: Exception) -> HttpResponseBase:  # type: ignore[override]
        if isinstance(exc, Refused):
            return answer(None, exc.code, str(exc))
        if isinstance(exc, Invalid):
            return answer(None, WRONG, _sentence(exc))
        if isinstance(exc, Reused):
            return answer(None, WRONG, "transactionId came with another notification before")
        if isinstance(exc, Overtaken | ClockWrong):
            return answer(None, AGAIN, "Nothing was stored: send it again", 503)
        if isinstance(exc, Problem):
            return answer(None, exc.document["status"], exc.document["detail"], exc.document["status"])
        if isinstance(exc, APIException):
            found = answer(None, exc.status_code, str(exc.detail), exc.status_code)
            if isinstance(exc, Throttled):
                found["Retry-After"] = throttle.retry_after(exc)
            return found
        other: HttpResponseBase = super().handle_exception(exc)
        return other


def _sentence(invalid: Invalid) -> str:
    return "; ".join(f"{pointer.lstrip('/') or 'the request'} {text}" for pointer, text in invalid.errors[:10])


def _caller(request: Request, auth: str, scope: Scope) -> tuple[Caller, PushwooshSettings]:
    """Whose key it is, and the settings of that project. Raises Refused, Throttled."""
    caller = caller_of(auth)
    standing = throttle.standing(request._request, caller) if caller else None
    if standing and not standing.allowed:
        raise Throttled(standing.wait)
    known = pushwoosh.settings_of(caller.project_id) if caller and scope in caller.scopes else None
    if caller is None or known is None:
        raise Refused(FORBIDDEN, _FORBIDDEN)
    return caller, known


class CreateMessage(Method):
    """The key needs the scope `send`. A notification becomes one message for each device."""

    describes = {
        "POST": Operation(
            "Send notifications",
            shapes.PushwooshMessagesTaken,
            body=shapes.PushwooshCreateMessage,
            example={
                "request": {
                    "auth": _AUTH,
                    "application": _APPLICATION,
                    "notifications": [{"send_date": "now", "content": "Hello", "devices": ["device-token-1"]}],
                }
            },
        )
    }

    def post(self, request: Request) -> HttpResponse:
        document = json.loads(json.raw(request))
        wanted = schema.parse(schema.CREATE_MESSAGE, document)
        caller, known = _caller(request, wanted.auth, Scope.SEND)
        schema.check(wanted)
        if wanted.application != known.application:
            raise Refused(FORBIDDEN, _FORBIDDEN)
        return answer(pushwoosh.create_messages(caller.sender, known, wanted, document["request"]))


class GetTrackingLog(Method):
    """Today's where no day is named. The answer's request_id is for getResults. The key needs the scope `read`."""

    describes = {
        "POST": Operation(
            "Ask for the log of a day",
            shapes.PushwooshLogAsked,
            body=shapes.PushwooshGetTrackingLog,
            example={"request": {"auth": _AUTH, "date": "2026-11-20"}},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        wanted = schema.parse(schema.TRACKING_LOG, json.loads(json.raw(request)))
        caller, _ = _caller(request, wanted.auth, Scope.READ)
        with transaction.atomic():
            log, new = push_log.ask(caller.project_id, wanted.date)
            if new:
                jobs.later(push_log.TASK)
        return answer({"request_id": log.request_id})


class GetResults(Method):
    """Or status_code 202 while it is being made. The key needs the scope `read`."""

    describes = {
        "POST": Operation(
            "The file of a request",
            shapes.PushwooshResults,
            body=shapes.PushwooshGetResults,
            example={"request": {"auth": _AUTH, "request_id": "7fd2a5c0c1f74e5c9d0a4c3d8a4c5f3e"}},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        wanted = schema.parse(schema.RESULTS, json.loads(json.raw(request)))
        caller, _ = _caller(request, wanted.auth, Scope.READ)
        try:
            log = push_log.find(caller.project_id, wanted.request_id)
        except push_log.Unknown:
            raise Refused(WRONG, "request_id is not known, or its file has expired") from None
        if log.state != LogState.DONE:
            return answer(None, WORKING, "The request is being processed: ask again in a second")
        return answer({"fileName": settings.PUBLIC_URL + reverse("pushwoosh-file", args=[log.file_token])})


class RegisterDevice(Method):
    """With a key of the scope `send`, or without one where the project is open to that."""

    describes = {
        "POST": Operation(
            "Register a device",
            shapes.PushwooshDone,
            body=shapes.PushwooshRegisterDevice,
            example={"request": {**_DEVICE, "device_type": 3, "push_token": "device-token-1"}},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        wanted = schema.parse(schema.REGISTER, json.loads(json.raw(request)))
        pushwoosh.register_device(_project_of(request, wanted), wanted)
        return answer(None)


class UnregisterDevice(Method):
    """Nothing is sent to it until it registers again. Who may: as for registerDevice."""

    describes = {
        "POST": Operation(
            "Take a device back",
            shapes.PushwooshDone,
            body=shapes.PushwooshUnregisterDevice,
            example={"request": _DEVICE},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        wanted = schema.parse(schema.UNREGISTER, json.loads(json.raw(request)))
        pushwoosh.unregister_device(_project_of(request, wanted), wanted.hwid)
        return answer(None)


def _project_of(request: Request, wanted: schema.RegisterDevice | schema.UnregisterDevice) -> int:
    if wanted.auth is not None:
        known: PushwooshSettings | None = _caller(request, wanted.auth, Scope.SEND)[1]
    else:
        known = pushwoosh.open_to_devices(wanted.application)
    if known is None or known.application != wanted.application:
        raise Refused(FORBIDDEN, _FORBIDDEN)
    return known.project_id


class Nowhere(Method):
    """Methods that are not offered here."""

    schema = None  # it is not described

    def post(self, request: Request, rest: str) -> HttpResponse:
        return answer(None, 404, "This method is not offered here", 404)


@csrf_exempt  # a POST hears that it is no method here, and not of forms
@require_safe
def file(request: HttpRequest, token: str) -> HttpResponseBase:
    """A finished log. No key is asked for: its address cannot be guessed, and ends with the log."""
    log = push_log.readable(token)
    if log is None:
        return HttpResponse("There is no such file (any more).\n", status=404, content_type="text/plain")
    headers = {
        "Content-Disposition": f'attachment; filename="tracking_log_{log.day}.zip"',
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }
    pieces = push_log.stream(log) if request.method == "GET" else iter(())
    return StreamingHttpResponse(pieces, content_type="application/zip", headers=headers)
