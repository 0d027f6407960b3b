"""The native API, version 1: channels, members, messages to them, and receipts. docs/channels.md describes it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from tracking import channel_schema
from tracking.api import json, problems
from tracking.api.describe import Operation
from tracking.api.marking import finish
from tracking.api.v1 import channel_shapes as shapes
from tracking.api.v1.views import View, telling_purged
from tracking.models import ChannelMessage, ChatChannel, Scope
from tracking.paging import PageQuery
from tracking.services import act, channel_posts, channel_receipts, channel_sessions, channels, markers, members


class _View(View):
    def channel(self, request: Request, key: str) -> ChatChannel:
        return channels.find(self.caller(request).project_id, key)

    def place(self, request: Request, notification: str) -> ChannelMessage:
        caller, key = self.caller(request), _id(notification)
        with telling_purged(caller, key, problems.purged()):
            return channel_posts.find(caller.project_id, key)


class Channels(_View):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}
    describes = {
        "GET": Operation("List channels, newest first", shapes.ChatChannelPage, query=PageQuery),
        "POST": Operation(
            "Make a channel",
            shapes.ChatChannel,
            201,
            body=channel_schema.NewChannel,
            example={"id": "room-1", "name": "Lunch", "type": "community"},
        ),
    }

    def get(self, request: Request) -> HttpResponse:
        return json.answer(channels.page(self.caller(request).project_id, self.query(request)))

    def post(self, request: Request) -> HttpResponse:
        made = channels.create(project_id=self.caller(request).project_id, document=json.document(request))
        return json.answer(channels.shape(made), 201)


class Channel(_View):
    scopes = {"GET": Scope.READ, "PATCH": Scope.MANAGE, "DELETE": Scope.MANAGE}
    describes = {
        "GET": Operation("Look a channel up", shapes.ChatChannel),
        "PATCH": Operation(
            "Give a channel another name",
            shapes.ChatChannel,
            body=channel_schema.ChannelChanges,
            example={"name": "Dinner"},
        ),
        "DELETE": Operation("Close a channel for good; its messages stay", None, 204),
    }
    http_method_names = ["get", "head", "patch", "delete"]

    def get(self, request: Request, channel: str) -> HttpResponse:
        return json.answer(channels.shape(self.channel(request, channel)))

    def patch(self, request: Request, channel: str) -> HttpResponse:
        project_id = self.caller(request).project_id
        return json.answer(
            channels.shape(channels.change(project_id=project_id, key=channel, document=json.document(request)))
        )

    def delete(self, request: Request, channel: str) -> HttpResponse:
        channels.delete(project_id=self.caller(request).project_id, key=channel)
        return HttpResponse(status=204)


class ChannelMembers(_View):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}
    describes = {
        "GET": Operation(
            "List members, in the order in which they came",
            shapes.ChannelMemberPage,
            query=channel_schema.MembersQuery,
        ),
        "POST": Operation(
            "Put up to 1,000 users into a channel",
            shapes.ChannelMembersPut,
            201,
            body=channel_schema.NewMembers,
            example={"members": [{"user_id": "ada", "display_name": "Ada"}, {"user_id": "ben"}]},
        ),
    }

    def get(self, request: Request, channel: str) -> HttpResponse:
        return json.answer(members.page(self.channel(request, channel), self.query(request)))

    def post(self, request: Request, channel: str) -> HttpResponse:
        added = members.add(self.channel(request, channel), json.document(request))
        return json.answer({"members": [members.shape(each) for each in added]}, 201)


class ChannelMember(_View):
    scopes = {"GET": Scope.READ, "PUT": Scope.MANAGE, "DELETE": Scope.MANAGE}
    describes = {
        "GET": Operation("Look a member up", shapes.ChannelMember),
        "PUT": Operation(
            "Put a user into a channel, or change their membership",
            shapes.ChannelMember,
            body=channel_schema.MemberChanges,
            example={"membership": "muted"},
        ),
        "DELETE": Operation("Let a user leave: a non-member from now on", None, 204),
    }
    http_method_names = ["get", "head", "put", "delete"]

    def get(self, request: Request, channel: str, user: str) -> HttpResponse:
        return json.answer(members.shape(members.find(self.channel(request, channel), user)))

    def put(self, request: Request, channel: str, user: str) -> HttpResponse:
        changed = members.change(self.channel(request, channel), user, json.document(request))
        return json.answer(members.shape(changed))

    def delete(self, request: Request, channel: str, user: str) -> HttpResponse:
        members.leave(self.channel(request, channel), user)
        return HttpResponse(status=204)


class ChannelMessages(_View):
    scopes = {"GET": Scope.READ, "POST": Scope.SEND}
    describes = {
        "GET": Operation("List a channel's messages, newest first", shapes.ChannelMessagePage, query=PageQuery),
        "POST": Operation(
            "Send a message to all members",
            shapes.ChannelMessageTaken,
            202,
            body=channel_schema.Post,
            example={"user_id": "ada", "content": {"text": "Lunch?"}},
            repeatable=True,
        ),
    }

    def get(self, request: Request, channel: str) -> HttpResponse:
        return json.answer(channel_posts.page(self.channel(request, channel), self.query(request)))

    def post(self, request: Request, channel: str) -> HttpResponse:
        document = json.document(request)
        key, found = self.key(request, document), self.channel(request, channel)
        answer, place = channel_posts.post(self.caller(request).sender, found, document, key=key)
        return json.answer({**answer, "channel_id": found.key, "segment": place.segment}, 202)


class ChannelReceipts(_View):
    """Of any members and messages of the channel: all of them are taken, or none."""

    scopes = {"POST": Scope.RECEIPTS}
    describes = {
        "POST": Operation(
            "Mark up to 1,000 receipts",
            shapes.ChannelMarkers,
            body=channel_schema.Marks,
            example={"receipts": [{"user_id": "ada", "status": "read", "segment": 1}]},
        )
    }
    http_method_names = ["post"]

    def post(self, request: Request, channel: str) -> HttpResponse:
        moved = finish(markers.mark_several(self.channel(request, channel), json.document(request)))
        return json.answer({"markers": [channel_receipts.marker_shape(each) for each in moved.members]})


class Receipts(_View):
    """Of a message to a channel. Who got or read it got every earlier message of the channel, too."""

    scopes = {"GET": Scope.RECEIPTS, "POST": Scope.RECEIPTS}
    describes = {
        "GET": Operation(
            "Count the members who got a message and who read it",
            shapes.ReceiptCounts,
            query=channel_schema.ReceiptsQuery,
            errors=(410,),
        ),
        "POST": Operation(
            "Mark a message as delivered to a member, or read",
            shapes.ChannelMarker,
            body=channel_schema.Mark,
            example={"user_id": "ada", "status": "read"},
            errors=(410,),
        ),
    }

    def get(self, request: Request, notification: str) -> HttpResponse:
        return json.answer(channel_receipts.summary(self.place(request, notification), self.query(request)))

    def post(self, request: Request, notification: str) -> HttpResponse:
        caller, key = self.caller(request), _id(notification)
        with telling_purged(caller, key, problems.purged()):
            moved = finish(markers.mark_message(caller.project_id, key, json.document(request)))
        return json.answer(channel_receipts.marker_shape(moved.members[0]))


class ReceiptUsers(_View):
    """The slowest come first."""

    scopes = {"GET": Scope.RECEIPTS}
    describes = {
        "GET": Operation(
            "List the members who got a message, or who read it",
            shapes.ReceiverPage,
            query=channel_schema.MembersQuery,
            choices={"kind": ("delivered", "read")},
            errors=(410,),
        )
    }

    def get(self, request: Request, notification: str, kind: str) -> HttpResponse:
        place, query = self.place(request, notification), self.query(request)
        return json.answer(channel_receipts.native_page(place, kind, query))


class ChatUser(_View):
    scopes = {"GET": Scope.READ, "PATCH": Scope.MANAGE}
    describes = {
        "GET": Operation("Look a user of the application up", shapes.ChatUser),
        "PATCH": Operation(
            "Change a user's name, and whether their receipts are hidden",
            shapes.ChatUser,
            body=channel_schema.UserChanges,
            example={"receipts_hidden": True},
        ),
    }
    http_method_names = ["get", "head", "patch"]

    def get(self, request: Request, user: str) -> HttpResponse:
        return json.answer(channels.user_shape(channels.user(self.caller(request).project_id, user)))

    def patch(self, request: Request, user: str) -> HttpResponse:
        project_id, document = self.caller(request).project_id, json.document(request)
        return json.answer(
            channels.user_shape(channels.change_user(project_id=project_id, user_id=user, document=document))
        )


class ChatUserToken(_View):
    """What the user's device logs in with, where the project wants secure sessions."""

    scopes = {"POST": Scope.MANAGE}
    describes = {"POST": Operation("Make a token for a user's session", shapes.ChatUserToken, 201, errors=(422,))}
    http_method_names = ["post"]

    def post(self, request: Request, user: str) -> HttpResponse:
        answer: Any = json.answer(channel_sessions.invite(self.caller(request).project_id, user), 201)
        answer["Cache-Control"] = "no-store"
        return answer  # type: ignore[no-any-return]


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise act.Missing from None
