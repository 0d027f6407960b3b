"""The rate limit of a key. DRF asks PerKey (settings), interfaces that find the key elsewhere call `standing`, and the
middleware writes the headers of the answers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from tracking import rate

if TYPE_CHECKING:  # DRF's views import this module
    from rest_framework.views import APIView

_STANDING = "rate_standing"


class Limited(Protocol):
    """Whoever calls: a key, a login, a user's session."""

    @property
    def rate_key(self) -> str: ...

    @property
    def rate_limit(self) -> int | None: ...  # requests a minute; None: RATE_LIMIT


def standing(request: HttpRequest, caller: Limited) -> rate.Standing | None:
    """One more request of this caller's. None: it has no limit (0)."""
    limit = settings.RATE_LIMIT if caller.rate_limit is None else caller.rate_limit
    if not limit:
        return None
    found = rate.take(caller.rate_key, limit)
    setattr(request, _STANDING, found)
    return found


class PerKey(BaseThrottle):
    """Who shows no key is refused anyway."""

    _standing: rate.Standing | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        caller: Any = request.auth
        if caller is not None:
            self._standing = standing(request._request, caller)
        return self._standing is None or self._standing.allowed

    def wait(self) -> float | None:
        return self._standing.wait if self._standing else None


def retry_after(error: APIException) -> str:
    """Of one that is Throttled: in how many seconds more is served."""
    return str(math.ceil(getattr(error, "wait", None) or 1))


def add_headers(request: HttpRequest, response: HttpResponseBase) -> None:
    found: rate.Standing | None = getattr(request, _STANDING, None)
    if found is not None:
        response.headers["X-RateLimit-Limit"] = str(found.limit)
        response.headers["X-RateLimit-Remaining"] = str(found.remaining)
        response.headers["X-RateLimit-Reset"] = str(found.reset)
