"""What every address of social.plus' API shares: sessions, the form of its errors, its arrays and paging tokens."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson
from django.http import Http404, HttpResponse
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from tracking.api import interfaces, json, throttle
from tracking.api.authentication import Caller, caller_of_prefix
from tracking.api.compat.socialplus.bodies import MAX_IDS
from tracking.api.describe import Operation
from tracking.api.problems import Problem
from tracking.clock import ClockWrong
from tracking.models import ChatChannel, ChatMember, ChatUser, Membership, Scope
from tracking.models.channel import PRESENT
from tracking.schema import Invalid
from tracking.services import act, channel_sessions, channels, members
from tracking.services.idempotency import Overtaken, Reused

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
# the vendor's codes
BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, DENIED = 400000, 400100, 400300, 400301
MUTED, BANNED, NOT_FOUND, CONFLICT, BUSINESS_ERROR = 400302, 400304, 400400, 400900, 500000


class WireError(Exception):
    """An error as the vendor's clients know it."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Visitor:
    """A user in a session, and the API key that it was opened with."""

    user: ChatUser
    caller: Caller

    is_authenticated = True

    @property
    def rate_key(self) -> str:
        """Of their own: all users of an app share its key."""
        return f"user:{self.user.pk}"

    @property
    def rate_limit(self) -> int | None:
        return self.caller.rate_limit


class SessionAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Visitor, Visitor]:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        try:
            session = channel_sessions.of_token(token.strip() if scheme.lower() == "bearer" else "")
        except channel_sessions.Closed:
            raise WireError(401, UNAUTHORIZED, "Unauthorized: open a session first") from None
        caller = caller_of_prefix(session.prefix)
        if caller is None or caller.project_id != session.user.project_id:
            raise WireError(401, UNAUTHORIZED, "Unauthorized: the API key is not valid any more")
        visitor = Visitor(session.user, caller)
        return visitor, visitor


class SessionScope(BasePermission):
    """A session may do what its key may."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed: Scope = view.scope  # type: ignore[attr-defined]
        if not isinstance(request.auth, Visitor) or needed not in request.auth.caller.scopes:
            raise WireError(403, DENIED, f"Permission denied: the API key lacks the scope {needed}")
        return True


class View(APIView):
    """An address that a session asks."""

    interface = interfaces.SOCIALPLUS
    describes: ClassVar[dict[str, Operation]] = {}
    scope: ClassVar[Scope] = Scope.RECEIPTS
    authentication_classes = [SessionAuthentication]
    permission_classes = [SessionScope]
    content_negotiation_class = json.OneFormat
    http_method_names = ["get", "head"]

    def get_exception_handler(self) -> Callable[..., HttpResponse | None]:
        return handler

    @staticmethod
    def visitor(request: Request) -> Visitor:
        assert isinstance(request.auth, Visitor)  # SessionAuthentication lets nobody else through
        return request.auth


# --- channels, as the visitor may see them


def channel_of(visitor: Visitor, key: str) -> tuple[ChatChannel, ChatMember]:
    """Raises WireError where the user is not in it."""
    channel = channels.find(visitor.user.project_id, key)
    return channel, member_of(visitor, channel)


def member_of(visitor: Visitor, channel: ChatChannel) -> ChatMember:
    try:
        member = members.find(channel, visitor.user.user_id)
    except act.Missing:
        raise WireError(403, FORBIDDEN, "Forbidden: the user is not in this channel") from None
    if member.membership == Membership.BANNED:
        raise WireError(403, BANNED, "The user is banned from this channel")
    if member.membership not in PRESENT:
        raise WireError(403, FORBIDDEN, "Forbidden: the user is not in this channel")
    member.channel = channel
    return member


# --- requests


def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object; {} where there is none."""
    empty = request.META.get("CONTENT_LENGTH") in (None, "", "0") and "HTTP_TRANSFER_ENCODING" not in request.META
    found = {} if empty else json.document(request)
    if not isinstance(found, dict):
        raise WireError(400, BAD_REQUEST, "the body must be an object")
    return found


def many(request: Request, name: str) -> list[str]:
    """An array of the query, each value once."""
    values = request.query_params.getlist(f"{name}[]") or request.query_params.getlist(name)
    if len(values) > MAX_IDS:
        raise WireError(400, BAD_REQUEST, f"{name} must be at most {MAX_IDS:,} ids")
    if any("\x00" in value for value in values):
        raise WireError(400, BAD_REQUEST, f"{name} must not hold a NUL character")
    return list(dict.fromkeys(values))


def token_of(request: Request) -> dict[str, Any]:
    """The paging token: base64 of a JSON object. {} where there is none."""
    text = request.query_params.get("options[token]")
    if not text:
        return {}
    try:
        found = orjson.loads(base64.b64decode(text.replace("-", "+").replace("_", "/") + "=="))
    except (ValueError, binascii.Error):
        raise WireError(400, BAD_REQUEST, "options.token is not a token") from None
    if not isinstance(found, dict):
        raise WireError(400, BAD_REQUEST, "options.token is not a token")
    return found


def limit_of(value: Any) -> int:
    """A number, or its text. The vendor's clients ask for more than they get: there is a highest."""
    if value is None:
        return DEFAULT_LIMIT
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise WireError(400, BAD_REQUEST, "limit must be a number from 1")
    return min(int(text), MAX_LIMIT)


def token(values: Mapping[str, Any]) -> str:
    return base64.b64encode(orjson.dumps(dict(values))).decode()


# --- errors


def handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """None: not an error of the caller's; middleware.DatabaseAway or Django answer."""
    found = _wire(error)
    if found is None:
        return None
    answer = json.answer({"status": "error", "code": found.code, "message": str(found)}, found.status)
    if isinstance(error, exceptions.Throttled):
        answer["Retry-After"] = throttle.retry_after(error)
    return answer


def _wire(error: Exception) -> WireError | None:
    match error:
        case WireError():
            return error
        case act.Missing() | Http404():
            return WireError(404, NOT_FOUND, "Item not found")
        case act.Refused():
            return WireError(403, FORBIDDEN, str(error))
        case Invalid():
            return WireError(422, BAD_REQUEST, _sentence(error)[:500])
        case Reused():
            return WireError(409, CONFLICT, "this referenceId came with another message")
        case Overtaken() | ClockWrong():
            return WireError(503, BUSINESS_ERROR, "not available at the moment")
        case Problem():
            return WireError(error.document["status"], BAD_REQUEST, str(error))
        case exceptions.APIException():
            return WireError(error.status_code, BAD_REQUEST, str(error.detail))
    return None


# what our services call by another name than the vendor's clients, the longer first
_NAMES = {
    "/user_id": "/userId",
    "/external_id": "/referenceId",
    "/content/data": "/data",
    "/content": "/data",
}


def _sentence(invalid: Invalid) -> str:
    return "; ".join(f"{_name(pointer)}: {detail}" for pointer, detail in invalid.errors)


def _name(pointer: str) -> str:
    for ours, theirs in _NAMES.items():
        if pointer == ours or pointer.startswith(f"{ours}/"):
            pointer = theirs + pointer.removeprefix(ours)
            break
    return pointer.lstrip("/") or "the request"
