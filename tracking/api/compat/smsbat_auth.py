"""SMSBat's three ways to say who calls: a key in X-Authorization-Key, a key as the password of `@`, or a login."""

from __future__ import annotations

import base64
import binascii

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tracking.api.authentication import Caller, caller_of
from tracking.services import logins
from tracking.services.record import Source

KEY_FOLLOWS = "@"


class LoginCaller(Caller):
    """Who called by a login is named so in timelines."""

    __slots__ = ()

    @property
    def source(self) -> Source:
        return Source("api", detail={"login": self.prefix.removeprefix(KEY_FOLLOWS)})


class BatAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Caller, Caller] | None:
        key, header = request.META.get("HTTP_X_AUTHORIZATION_KEY"), request.META.get("HTTP_AUTHORIZATION")
        if key is None and header is None:
            return None
        caller = caller_of(key.strip()) if key is not None else _by_basic(header or "")
        if caller is None:
            raise AuthenticationFailed("The key, or the username and password, are not valid.")
        return caller, caller

    def authenticate_header(self, request: Request) -> str:
        return 'Basic realm="postroom", charset="UTF-8"'


def _by_basic(header: str) -> Caller | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        raise AuthenticationFailed("Use the header X-Authorization-Key, or HTTP Basic.")
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise AuthenticationFailed("The header Authorization is not HTTP Basic.") from None
    username, _, password = text.partition(":")
    return caller_of(password) if username == KEY_FOLLOWS else _by_login(username, password)


def _by_login(username: str, password: str) -> Caller | None:
    login = logins.check(username, password)
    if login is None:
        return None
    project = login.project
    return LoginCaller(
        project_id=project.pk,
        project_since=project.created_at,
        default_region=project.default_region,
        prefix=f"{KEY_FOLLOWS}{login.username}",
        hashed=bytes(login.hashed),
        scopes=frozenset(login.scopes),
    )
