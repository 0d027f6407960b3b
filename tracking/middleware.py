"""What every answer goes through. Listed in MIDDLEWARE.

Programs get problem documents, whoever of us refused them. A database that is away is no error of ours, and never a
success: 503 with Retry-After.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import orjson
from django.core.exceptions import DisallowedHost
from django.db import InternalError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from psycopg import errors

from tracking.api import problems, refusals, throttle
from tracking.away import AWAY

log = logging.getLogger(__name__)

# psycopg's own appear where a connection is used beside Django's


class Problems:
    """A foreign Host header is refused in one line of the log; HTML for programs becomes what their interface says."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            request.get_host()
        except DisallowedHost:
            log.warning("refused a request for another host: %.200r", request.META.get("HTTP_HOST", ""))
            response: HttpResponseBase = HttpResponse("This host is not served here.\n", status=400)
            detail = "This host is not served here: see ALLOWED_HOSTS."
        else:
            response, detail = self.get_response(request), ""
        form = refusals.form_of(request.path_info)
        if form and response.status_code >= 400:
            _in_form(form, response, detail)
        throttle.add_headers(request, response)
        return response


def _in_form(form: refusals.Form, response: HttpResponseBase, detail: str) -> None:
    """In place, so that headers such as Allow stay."""
    if not isinstance(response, HttpResponse) or not response.headers["Content-Type"].startswith("text/html"):
        return
    status = response.status_code
    kind, known = problems.BY_STATUS.get(status, ("refused", "The request was refused."))
    response.headers["Content-Type"], document = form(status, kind, detail or known)
    response.content = orjson.dumps(document)
    if "Content-Length" in response.headers:  # of the HTML
        response.headers["Content-Length"] = str(len(response.content))


class DatabaseAway:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not is_away(error):
            return None
        log.error("the database is away: %s", error)
        _discard_broken()
        headers = {"Retry-After": problems.RETRY_AFTER}
        form = refusals.form_of(request.path_info)
        if form is None:
            text = "The database is not available.\n"
            return HttpResponse(text, status=503, content_type="text/plain", headers=headers)
        kind, document = form(503, "unavailable", "The database is not available; nothing was stored.")
        return HttpResponse(orjson.dumps(document), status=503, content_type=kind, headers=headers)


def _discard_broken() -> None:
    """The pool's other connections have most likely ended too: one request meets that, and not one for each of them."""
    pool = getattr(connection, "pool", None)  # only PostgreSQL's wrapper knows pools, and only the web's has one
    if pool is not None and not pool.closed:
        pool.check()


def is_away(error: BaseException) -> bool:
    """A standby that has not been promoted yet answers, but takes no writes."""
    read_only = isinstance(error, InternalError) and isinstance(error.__cause__, errors.ReadOnlySqlTransaction)
    return isinstance(error, AWAY) or read_only
