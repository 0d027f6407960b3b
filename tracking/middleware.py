"""A database that is away is no error of ours, and never a success: 503 with Retry-After."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import InterfaceError, InternalError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout

from tracking.api import problems

log = logging.getLogger(__name__)

# psycopg's own appear where a connection is used beside Django's
AWAY = (OperationalError, InterfaceError, errors.OperationalError, errors.InterfaceError, PoolTimeout, PoolClosed)


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
        if request.path_info.startswith("/v1/"):
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
