"""Every error of the API as a problem document (RFC 9457): what was raised, and which answer it is."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpResponse
from rest_framework import exceptions

from tracking import problem
from tracking.clock import ClockWrong
from tracking.schema import BadQuery, FieldError, Invalid
from tracking.services.act import Missing, Refused
from tracking.services.channel_receipts import Hidden
from tracking.services.idempotency import Overtaken, Reused

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"  # seconds
# Of answers that Django gives by itself.
BY_STATUS = {
    400: ("malformed", "The request is malformed."),
    404: ("not-found", "There is nothing at this address."),
    405: ("method-not-allowed", "This address does not take this method: see the header Allow."),
    500: ("failed", "Something failed here; the log says what."),
    503: ("unavailable", "Nothing can be stored at the moment."),
}


class Problem(Exception):
    """An error that the API itself found."""

    def __init__(self, status: int, kind: str, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.document = problem.document(status, kind, detail, errors)


def purged() -> Problem:
    return Problem(410, "purged", "This notification is older than what is kept.")


def answer(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> HttpResponse:
    return HttpResponse(
        orjson.dumps(document),
        status=document["status"],
        content_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


def unavailable(detail: str) -> HttpResponse:
    return answer(problem.document(503, "unavailable", detail), {"Retry-After": RETRY_AFTER})


def not_found() -> HttpResponse:
    """The same for what is not there and for what belongs to another project."""
    return answer(problem.document(404, "not-found", "There is nothing at this address."))


def handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """DRF's exception handler. None: not an error of the API's callers; middleware.DatabaseAway or Django answer."""
    if isinstance(error, Problem):
        return answer(error.document)
    if isinstance(error, exceptions.APIException):
        return _of_framework(error)
    for kinds, make in _ANSWERS:
        if isinstance(error, kinds):
            return make(error)
    return None


_KINDS = {
    400: "malformed",
    401: "unauthenticated",
    403: "missing-scope",
    404: "not-found",
    405: "method-not-allowed",
    415: "unsupported-media-type",
    429: "rate-limited",
}


def _of_framework(error: exceptions.APIException) -> HttpResponse:
    headers = {}
    if header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    detail = str(error.detail)
    if isinstance(error, exceptions.Throttled):
        seconds = math.ceil(getattr(error, "wait", None) or 1)
        headers["Retry-After"] = str(seconds)
        detail = f"The API key has used up its requests of this minute; more are served in {seconds} s."
    kind = _KINDS.get(error.status_code, "refused")
    return answer(problem.document(error.status_code, kind, detail), headers)


def _bad_query(error: BadQuery) -> dict[str, Any]:
    errors = [{"parameter": name[:100], "detail": text} for name, text in error.errors.items()]
    return problem.document(400, "malformed", str(error)[:500]) | {"errors": errors}


def _too_big(error: Exception) -> HttpResponse:
    return answer(problem.document(413, "too-large", "The body is larger than 10 MiB."))


_ANSWERS: Sequence[tuple[type[Exception] | tuple[type[Exception], ...], Callable[[Any], HttpResponse]]] = (
    (Invalid, lambda error: answer(problem.invalid(error.errors))),
    (Refused, lambda error: answer(problem.document(409, "conflict", str(error)))),
    (
        Reused,
        lambda _: answer(
            problem.document(422, "idempotency-key-reused", "This Idempotency-Key came with another request.")
        ),
    ),
    (Overtaken, lambda _: unavailable("A request with the same Idempotency-Key is being served.")),
    (ClockWrong, lambda error: unavailable(f"Messages cannot be accepted: {error}.")),
    ((Http404, Missing), lambda _: not_found()),
    (Hidden, lambda _: answer(problem.document(403, "receipts-hidden", "This project hides its receipts."))),
    (BadQuery, lambda error: answer(_bad_query(error))),
    (PermissionDenied, lambda _: answer(problem.document(403, "missing-scope", "This is not allowed."))),
    (RequestDataTooBig, _too_big),
    (SuspiciousOperation, lambda _: answer(problem.document(400, "malformed", "The request is malformed."))),
)
