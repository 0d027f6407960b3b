"""One log line for a request, and an id that all lines of the request carry. Listed in settings.MIDDLEWARE.

A line names the route, never the address: addresses hold recipients, tokens and search words.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from django.http import HttpRequest, HttpResponseBase
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

log = logging.getLogger("postroom.request")
HEADER = "X-Request-ID"
SLOW = 1.0  # seconds
_MACHINES = (
    *("/v1/", "/api/", "/bat/", "/json/", "/hooks/", "/healthz", "/readyz", "/metrics", "/static/"),
    *("/o/", "/c/", "/l/", "/p/"),
)
_ID = re.compile(r"[A-Za-z0-9-]{8,64}")


class RequestLog:
    """What goes well and quickly for machines is logged at DEBUG only: there may be thousands of it a second."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        clear_contextvars()
        given = request.headers.get(HEADER, "")
        key = given if _ID.fullmatch(given) else uuid4().hex
        bind_contextvars(request_id=key)
        started = time.perf_counter()
        try:
            response = self.get_response(request)
            seconds = time.perf_counter() - started
            level = _level(request, response.status_code, seconds)
            if log.isEnabledFor(level):
                ms = round(seconds * 1000)
                log.log(level, "%s %s %s in %s ms", request.method, route_of(request), response.status_code, ms)
        finally:
            clear_contextvars()
        response.headers[HEADER] = key
        return response


def _level(request: HttpRequest, status: int, seconds: float) -> int:
    if status >= 500:
        return logging.WARNING
    dull = status < 400 and seconds < SLOW and request.path_info.startswith(_MACHINES)
    return logging.DEBUG if dull else logging.INFO


def route_of(request: HttpRequest) -> str:
    """The pattern that the address matched, and those of its parts that are ids of ours."""
    match = request.resolver_match
    if match is None:
        return "(no such address)"
    ids = [f"{name}={value}" for name, value in match.kwargs.items() if _is_id(value)]
    return " ".join([f"/{match.route}", *ids])


def _is_id(value: object) -> bool:
    return isinstance(value, (UUID, int)) or (isinstance(value, str) and value.isascii() and _looks_like_id(value))


def _looks_like_id(value: str) -> bool:
    if value.isdecimal():
        return len(value) < 10
    try:
        return str(UUID(value)) == value
    except ValueError:
        return False


def request_id() -> str | None:
    """Of the request that is being served; for the audit log."""
    found: str | None = get_contextvars().get("request_id")
    return found
