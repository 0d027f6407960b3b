"""social.plus' API: sessions, settings, users. docs/channels.md says what is different here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from django.http import HttpResponse
from rest_framework.request import Request

from tracking.api import interfaces, json
from tracking.api.authentication import caller_of
from tracking.api.compat.socialplus import bodies, shapes, wire
from tracking.api.compat.socialplus.base import DENIED, UNAUTHORIZED, View, WireError, body_of, many
from tracking.api.describe import Operation
from tracking.models import ChatUser, Scope
from tracking.services import channel_sessions, channels


class Sessions(View):
    """With the API key in X-API-Key. An Authorization header beside it is an old session's."""

    interface = replace(interfaces.SOCIALPLUS, always=(400, 401, 403, 503), limited=False)  # all share the key
    describes = {
        "POST": Operation(
            "A user logs in",
            wire.SocialSession,
            body=bodies.SocialLogin,
            example={"userId": "ada", "displayName": "Ada", "deviceId": "browser-1"},
            errors=(422,),
            security=("header",),
        )
    }
    authentication_classes = []
    permission_classes = []
    http_method_names = ["post"]

    def post(self, request: Request) -> HttpResponse:
        caller = caller_of(request.META.get("HTTP_X_API_KEY", "").strip())
        if caller is None:
            raise WireError(401, UNAUTHORIZED, "Unauthorized: the API key is not valid")
        if Scope.RECEIPTS not in caller.scopes:
            raise WireError(403, DENIED, "Permission denied: the API key lacks the scope receipts")
        wanted = body_of(request)
        try:
            opened = channel_sessions.open_session(
                project_id=caller.project_id,
                prefix=caller.prefix,
                user_id=wanted.get("userId"),
                display_name=wanted.get("displayName"),
                invitation=wanted.get("authToken"),
            )
        except channel_sessions.Closed:
            raise WireError(401, UNAUTHORIZED, "Unauthorized: authToken is missing or not good any more") from None
        answer: Any = json.answer(
            {
                "accessToken": opened.token,
                "refreshToken": "",
                "issuedAt": opened.issued_at,
                "expiresAt": opened.expires_at,
                "users": [shapes.user(opened.user)],
                "files": [],
            }
        )
        answer["Cache-Control"] = "no-store"
        return answer  # type: ignore[no-any-return]


class OpenSessions(View):
    describes = {"DELETE": Operation("The user logs out: every session of theirs ends", wire.SocialDone)}
    http_method_names = ["delete"]

    def delete(self, request: Request) -> HttpResponse:
        channel_sessions.end_all(self.visitor(request).user)
        return json.answer({"success": True})


class ChatSettings(View):
    """Markers, and no previews or mentions."""

    describes = {"GET": Operation("What clients may count on", wire.SocialSettings)}

    def get(self, request: Request) -> HttpResponse:
        return json.answer(
            {
                "enabled": True,
                "mention": {"isAllowMentionedChannelEnabled": False},
                "messagePreview": {"enabled": False, "isIncludeDeleted": False},
                "marker": {"enabled": True},
            }
        )


class Users(View):
    """Those of these ids that there are, in their order."""

    describes = {"GET": Operation("Several users", wire.SocialUsers, query=bodies.UserIds)}

    def get(self, request: Request) -> HttpResponse:
        # the client escapes each id by itself, and then the whole query
        wanted = [unquote(each) for each in many(request, "userIds")]
        project_id = self.visitor(request).user.project_id
        clean = [each for each in wanted if "\x00" not in each]
        found = {each.user_id: each for each in ChatUser.objects.filter(project_id=project_id, user_id__in=clean)}
        return json.answer({"users": [shapes.user(found[each]) for each in wanted if each in found], "files": []})


class User(View):
    describes = {"GET": Operation("One user", wire.SocialUsers)}

    def get(self, request: Request, user: str) -> HttpResponse:
        found = channels.user(self.visitor(request).user.project_id, user)
        return json.answer({"users": [shapes.user(found)], "files": []})
