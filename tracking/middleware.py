"""What every answer goes through. Listed in MIDDLEWARE.

Programs get problem documents, whoever of us refused them. A database that is away is no error of ours, and never a
success: 503 with Retry-After.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import orjson
from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, InternalError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout

from tracking import problem
from tracking.api import problems

log = logging.getLogger(__name__)

# psycopg's own appear where a connection is used beside Django's
AWAY = (OperationalError, InterfaceError, errors.OperationalError, errors.InterfaceError, PoolTimeout, PoolClosed)

FOR_PROGRAMS = ("/v1", "/api", "/hooks")


class Problems:
    """A foreign Host header is refused in one line of the log; HTML below /v1 and /hooks becomes a problem document."""

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
        if _for_programs(request) and response.status_code >= 400:
            _as_problem(response, detail)
        return response


def _for_programs(request: HttpRequest) -> bool:
    return any(request.path_info == root or request.path_info.startswith(f"{root}/") for root in FOR_PROGRAMS)


def _as_problem(response: HttpResponseBase, detail: str) -> None:
    """In place, so that headers such as Allow stay."""
    if not isinstance(response, HttpResponse) or not response.headers["Content-Type"].startswith("text/html"):
        return
    status = response.status_code
    kind, known = problems.BY_STATUS.get(status, ("refused", "The request was refused."))
    response.headers["Content-Type"] = problems.MEDIA_TYPE
    response.content = orjson.dumps(problem.document(status, kind, detail or known))
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
        if request.path_info.startswith(("/v1/", "/api/v1/")):
            return problems.unavailable("The database is not available; nothing was stored.")
        headers = {"Retry-After": problems.RETRY_AFTER}
        return HttpResponse("The database is not available.\n", status=503, content_type="text/plain", headers=headers)


def _discard_broken() -> None:
    """The pool's other connections have most likely ended too: one request meets that, and not one for each of them."""
    pool = getattr(connection, "pool", None)  # only PostgreSQL's wrapper knows pools, and only the web's has one
    if pool is not None and not pool.closed:
        pool.check()


def is_away(error: BaseException) -> bool:
    """A standby that has not been promoted yet answers, but takes no writes."""
    read_only = isinstance(error, InternalError) and isinstance(error.__cause__, errors.ReadOnlySqlTransaction)
    return isinstance(error, AWAY) or read_only
