"""The rate limit of a key, as DRF asks for it (settings) and as the answers' headers say it (v1.views.View)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from tracking import rate
from tracking.api.authentication import Caller

if TYPE_CHECKING:  # DRF's views import this module
    from rest_framework.views import APIView

_STANDING = "rate_standing"


class PerKey(BaseThrottle):
    """A key's own limit, else RATE_LIMIT; 0 is none. Who shows no key is refused anyway."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        caller = request.auth
        if not isinstance(caller, Caller):
            return True
        limit = settings.RATE_LIMIT if caller.rate_limit is None else caller.rate_limit
        if not limit:
            return True
        self.standing = rate.take(caller.prefix, limit)
        setattr(request._request, _STANDING, self.standing)
        return self.standing.allowed

    def wait(self) -> float:
        return self.standing.wait


def add_headers(request: Request, response: HttpResponseBase) -> None:
    standing: rate.Standing | None = getattr(request._request, _STANDING, None)
    if standing is not None:
        response.headers["X-RateLimit-Limit"] = str(standing.limit)
        response.headers["X-RateLimit-Remaining"] = str(standing.remaining)
        response.headers["X-RateLimit-Reset"] = str(standing.reset)
