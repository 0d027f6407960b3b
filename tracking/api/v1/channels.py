"""The native API, version 1: channels, members, messages to them, and receipts. docs/channels.md describes it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from tracking.api import json
from tracking.api.marking import finish
from tracking.api.v1.views import View
from tracking.models import ChannelMessage, ChatChannel, Scope
from tracking.services import act, channel_posts, channel_receipts, channel_sessions, channels, markers, members


class _View(View):
    def channel(self, request: Request, key: str) -> ChatChannel:
        return channels.find(self.caller(request).project_id, key)

    def place(self, request: Request, notification: str) -> ChannelMessage:
        return channel_posts.find(self.caller(request).project_id, _id(notification))


class Channels(_View):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    def get(self, request: Request) -> HttpResponse:
        """The channels, newest first."""
        return json.answer(channels.page(self.caller(request).project_id, request.query_params.dict()))

    def post(self, request: Request) -> HttpResponse:
        """Make a channel."""
        made = channels.create(project_id=self.caller(request).project_id, document=json.document(request))
        return json.answer(channels.shape(made), 201)


class Channel(_View):
    scopes = {"GET": Scope.READ, "PATCH": Scope.MANAGE, "DELETE": Scope.MANAGE}
    http_method_names = ["get", "head", "patch", "delete"]

    def get(self, request: Request, channel: str) -> HttpResponse:
        """One channel."""
        return json.answer(channels.shape(self.channel(request, channel)))

    def patch(self, request: Request, channel: str) -> HttpResponse:
        """Give it another name."""
        project_id = self.caller(request).project_id
        return json.answer(
            channels.shape(channels.change(project_id=project_id, key=channel, document=json.document(request)))
        )

    def delete(self, request: Request, channel: str) -> HttpResponse:
        """Close it for good; its messages stay."""
        channels.delete(project_id=self.caller(request).project_id, key=channel)
        return HttpResponse(status=204)


class Members(_View):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    def get(self, request: Request, channel: str) -> HttpResponse:
        """The members, as they came; some memberships alone with `memberships`."""
        return json.answer(members.page(self.channel(request, channel), request.query_params.dict()))

    def post(self, request: Request, channel: str) -> HttpResponse:
        """Put up to 1,000 users in."""
        added = members.add(self.channel(request, channel), json.document(request))
        return json.answer({"members": [members.shape(each) for each in added]}, 201)


class Member(_View):
    scopes = {"GET": Scope.READ, "PUT": Scope.MANAGE, "DELETE": Scope.MANAGE}
    http_method_names = ["get", "head", "put", "delete"]

    def get(self, request: Request, channel: str, user: str) -> HttpResponse:
        """One member."""
        return json.answer(members.shape(members.find(self.channel(request, channel), user)))

    def put(self, request: Request, channel: str, user: str) -> HttpResponse:
        """Put a user in, or change their membership."""
        changed = members.change(self.channel(request, channel), user, json.document(request))
        return json.answer(members.shape(changed))

    def delete(self, request: Request, channel: str, user: str) -> HttpResponse:
        """The user leaves: a non-member from now on."""
        members.leave(self.channel(request, channel), user)
        return HttpResponse(status=204)


class Messages(_View):
    scopes = {"GET": Scope.READ, "POST": Scope.SEND}

    def get(self, request: Request, channel: str) -> HttpResponse:
        """The channel's messages, newest first."""
        return json.answer(channel_posts.page(self.channel(request, channel), request.query_params.dict()))

    def post(self, request: Request, channel: str) -> HttpResponse:
        """A message to all members."""
        document = json.document(request)
        key, found = self.key(request, document), self.channel(request, channel)
        answer, place = channel_posts.post(self.caller(request).sender, found, document, key=key)
        return json.answer({**answer, "channel_id": found.key, "segment": place.segment}, 202)


class ChannelReceipts(_View):
    scopes = {"POST": Scope.RECEIPTS}
    http_method_names = ["post"]

    def post(self, request: Request, channel: str) -> HttpResponse:
        """Mark many at once: up to 1,000 receipts of any members and messages of the channel."""
        moved = finish(markers.mark_several(self.channel(request, channel), json.document(request)))
        return json.answer({"markers": [channel_receipts.marker_shape(each) for each in moved.members]})


class Receipts(_View):
    scopes = {"GET": Scope.RECEIPTS, "POST": Scope.RECEIPTS}

    def get(self, request: Request, notification: str) -> HttpResponse:
        """How many members got the message and how many read it."""
        return json.answer(channel_receipts.summary(self.place(request, notification), request.query_params.dict()))

    def post(self, request: Request, notification: str) -> HttpResponse:
        """A member got the message, or read it: and with it every earlier one of the channel."""
        project_id = self.caller(request).project_id
        moved = finish(markers.mark_message(project_id, _id(notification), json.document(request)))
        return json.answer(channel_receipts.marker_shape(moved.members[0]))


class ReceiptUsers(_View):
    scopes = {"GET": Scope.RECEIPTS}

    def get(self, request: Request, notification: str, kind: str) -> HttpResponse:
        """Who got it, or who read it."""
        place, query = self.place(request, notification), request.query_params.dict()
        return json.answer(channel_receipts.native_page(place, kind, query))


class User(_View):
    scopes = {"GET": Scope.READ, "PATCH": Scope.MANAGE}
    http_method_names = ["get", "head", "patch"]

    def get(self, request: Request, user: str) -> HttpResponse:
        """One user of the application."""
        return json.answer(channels.user_shape(channels.user(self.caller(request).project_id, user)))

    def patch(self, request: Request, user: str) -> HttpResponse:
        """Their name, and whether their receipts are hidden."""
        project_id, document = self.caller(request).project_id, json.document(request)
        return json.answer(
            channels.user_shape(channels.change_user(project_id=project_id, user_id=user, document=document))
        )


class UserToken(_View):
    scopes = {"POST": Scope.MANAGE}
    http_method_names = ["post"]

    def post(self, request: Request, user: str) -> HttpResponse:
        """What this user's device logs in with, where the project wants secure sessions."""
        answer: Any = json.answer(channel_sessions.invite(self.caller(request).project_id, user), 201)
        answer["Cache-Control"] = "no-store"
        return answer  # type: ignore[no-any-return]


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise act.Missing from None
