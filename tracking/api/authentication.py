"""API keys: who calls, and what the key may do. DRF finds both classes by the settings.

A key that was found is believed for two seconds in each process; so long does a revocation take.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tracking.models import ApiKey, Scope
from tracking.services.record import Source
from tracking.services.submit import Sender

if TYPE_CHECKING:  # DRF's views import this module
    from rest_framework.views import APIView

KEPT = 2.0  # seconds
CHALLENGE = 'Bearer realm="postroom"'  # what WWW-Authenticate asks for
KEPT_KEYS = 10_000  # more are not expected; the store is emptied then


@dataclass(frozen=True, slots=True)
class Caller:
    """The project behind a key, and the key's scopes."""

    project_id: int
    project_since: datetime
    default_region: str
    prefix: str
    hashed: bytes
    scopes: frozenset[str]
    rate_limit: int | None = None  # requests a minute; None: as the settings say

    is_authenticated = True  # asked for by whatever treats it as a user

    @property
    def rate_key(self) -> str:
        return self.prefix

    @property
    def source(self) -> Source:
        return Source("api", detail={"key": self.prefix})

    @property
    def sender(self) -> Sender:
        return Sender(self.project_id, self.default_region, self.source)


_kept: dict[str, tuple[float, Caller]] = {}


def forget() -> None:
    _kept.clear()


class KeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Caller, Caller] | None:
        key = presented(request.META.get("HTTP_AUTHORIZATION"), request.META.get("HTTP_X_API_KEY"))
        if key is None:
            return None
        caller = caller_of(key)
        if caller is None:
            raise AuthenticationFailed("The API key is not valid.")
        return caller, caller

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def presented(authorization: str | None, x_api_key: str | None) -> str | None:
    """The key in either header. Raises AuthenticationFailed."""
    if authorization is not None:
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("Use `Authorization: Bearer <key>` or `X-API-Key: <key>`.")
        return value.strip()
    return None if x_api_key is None else x_api_key.strip()


def caller_of(key: str) -> Caller | None:
    """Whose key this is; also for interfaces that take it elsewhere than in a header."""
    mark, _, rest = key.partition("_")
    prefix = rest.partition("_")[0]
    if mark != "pr" or not prefix.isascii() or not prefix.isalnum() or len(prefix) > 12:
        return None
    caller = caller_of_prefix(prefix)
    hashed = sha256(key.encode("utf-8", "surrogateescape")).digest()
    return caller if caller is not None and hmac.compare_digest(hashed, caller.hashed) else None


def caller_of_prefix(prefix: str) -> Caller | None:
    """Whether what was opened with a key is still good: for sessions that name it."""
    until, caller = _kept.get(prefix, (0.0, None))
    if caller is not None and time.monotonic() < until:
        return caller
    row = ApiKey.objects.select_related("project").filter(prefix=prefix, revoked=False).first()
    if row is None:
        _kept.pop(prefix, None)
        return None
    project = row.project
    caller = Caller(
        project.pk,
        project.created_at,
        project.default_region,
        prefix,
        bytes(row.hashed),
        frozenset(row.scopes),
        row.rate_limit,
    )
    if len(_kept) >= KEPT_KEYS:
        _kept.clear()
    _kept[prefix] = (time.monotonic() + KEPT, caller)
    return caller


class HasScope(BasePermission):
    """A view says in `scopes` which scope each method needs."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, Caller):
            raise NotAuthenticated("An API key is needed: `Authorization: Bearer <key>` or `X-API-Key: <key>`.")
        scopes: dict[str, Scope] = getattr(view, "scopes", {})
        method = "GET" if request.method == "HEAD" else request.method
        needed = scopes.get(method or "")
        if needed is not None and needed not in request.auth.scopes:
            raise PermissionDenied(f"The API key lacks the scope `{needed}`.")
        return True
