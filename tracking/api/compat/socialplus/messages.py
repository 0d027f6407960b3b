"""social.plus' API: channels, message feeds, messages. docs/channels.md says what is different here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from tracking.api import json
from tracking.api.compat.socialplus import bodies, shapes, wire
from tracking.api.compat.socialplus.base import (
    BAD_REQUEST,
    DENIED,
    MAX_LIMIT,
    MUTED,
    View,
    Visitor,
    WireError,
    body_of,
    channel_of,
    limit_of,
    many,
    member_of,
    token,
    token_of,
)
from tracking.api.describe import Operation
from tracking.models import ChannelMessage, ChatChannel, ChatMember, Membership, Scope
from tracking.services import act, channel_posts, chat_inbox
from tracking.services.channel_posts import Posted
from tracking.services.idempotency import Key

UNSUPPORTED = (
    "includeTags",
    "includeTags[]",
    "excludeTags",
    "excludeTags[]",
    "dataType",
    "hasFlags",
    "parentId",
    "options[around]",
)


class Channel(View):
    describes = {"GET": Operation("One channel of the user", wire.SocialChannels)}

    def get(self, request: Request, channel: str) -> HttpResponse:
        found, _ = channel_of(self.visitor(request), channel)
        return json.answer(_channels([found]))


class Channels(View):
    """Those of these channels that the user is in; without ids, all of the user's, page by page."""

    describes = {"GET": Operation("Channels of the user", wire.SocialChannelPage, query=bodies.ChannelQuery)}

    def get(self, request: Request) -> HttpResponse:
        members, paging = mine_of(self.visitor(request), request, "channelIds")
        return json.answer({**_channels([member.channel for member in members]), "paging": paging})


class Feed(View):
    describes = {"GET": Operation("One message feed", wire.SocialFeeds)}

    def get(self, request: Request, feed: str) -> HttpResponse:
        found, _ = channel_of(self.visitor(request), feed)
        return json.answer(_feeds([found]))


class Feeds(View):
    """Those of these feeds that the user is in."""

    describes = {"GET": Operation("Message feeds of the user", wire.SocialFeedPage, query=bodies.FeedIds)}

    def get(self, request: Request) -> HttpResponse:
        return _feeds_of(self.visitor(request), many(request, "messageFeedIds"))


class FeedsOfChannel(View):
    describes = {"GET": Operation("The message feed of a channel", wire.SocialFeedPage)}

    def get(self, request: Request, channel: str) -> HttpResponse:
        return _feeds_of(self.visitor(request), [channel])


class Messages(View):
    """A post needs the scope `send` too; the same referenceId again is the same message."""

    scope = Scope.READ
    describes = {
        "GET": Operation(
            "The messages of a feed, newest first",
            wire.SocialMessagePage,
            query=bodies.MessageQueryOfFeed,
            errors=(404,),
        ),
        "POST": Operation(
            "Post a message",
            wire.SocialMessages,
            body=bodies.SocialPost,
            example={"messageFeedId": "room-1", "dataType": "text", "data": {"text": "Lunch?"}, "referenceId": "r-1"},
            errors=(404, 409, 422),
        ),
    }
    http_method_names = ["get", "head", "post"]

    def get(self, request: Request) -> HttpResponse:
        query = request.query_params
        if named := [name for name in UNSUPPORTED if query.get(name)]:
            raise WireError(400, BAD_REQUEST, f"{named[0]} is not supported here")
        channel, _ = channel_of(self.visitor(request), query.get("messageFeedId", ""))
        asked = token_of(request)
        limit = limit_of(asked.get("limit", query.get("options[limit]")))
        sort = asked.get("sortBy", query.get("options[sortBy]")) or "segmentDesc"
        if sort not in ("segmentAsc", "segmentDesc"):
            raise WireError(400, BAD_REQUEST, "options[sortBy] must be segmentAsc or segmentDesc")
        ascending = sort == "segmentAsc"
        edge = _number(asked.get("edge"))
        start = {"after": edge or 0} if ascending else {"before": edge}
        rows = channel_posts.newest(channel, **start, limit=limit + 1)
        more: dict[str, Any] | None = {"limit": limit, "edge": rows[limit - 1].segment} if len(rows) > limit else None
        if more and ascending:
            more["sortBy"] = "segmentAsc"
        return json.answer(
            {**_messages(channel_posts.with_content(rows[:limit])), "paging": {"next": token(more)} if more else {}}
        )

    def post(self, request: Request) -> HttpResponse:
        visitor, wanted = self.visitor(request), body_of(request)
        if Scope.SEND not in visitor.caller.scopes:
            raise WireError(403, DENIED, "Permission denied: the API key lacks the scope send")
        channel, member = channel_of(visitor, str(wanted.get("messageFeedId", "")))
        if member.membership == Membership.MUTED:
            raise WireError(403, MUTED, "The user is muted in this channel")
        document, reference = _document(visitor, wanted), str(wanted.get("referenceId") or "")[:200]
        key = _key(visitor, channel, reference, document) if reference else None
        _, place = channel_posts.post(visitor.caller.sender, channel, document, key=key)
        (posted,) = channel_posts.with_content([channel_posts.find(channel.project_id, place.pk)])
        feeds = [shapes.feed(posted.channel)]
        answer = {**_messages([posted]), "messageFeeds": feeds, "messages": [shapes.message(posted, reference)]}
        return json.answer(answer)


class Message(View):
    scope = Scope.READ
    describes = {"GET": Operation("One message of a channel that the user is in", wire.SocialMessages)}

    def get(self, request: Request, message: str) -> HttpResponse:
        return json.answer(_messages(channel_posts.with_content([place_of(self.visitor(request), message)])))


class MessageList(View):
    """Those of these messages that stand in channels of the user."""

    scope = Scope.READ
    describes = {"GET": Operation("Several messages", wire.SocialMessages, query=bodies.MessageIds)}

    def get(self, request: Request) -> HttpResponse:
        visitor = self.visitor(request)
        return json.answer(_messages(channel_posts.with_content(places_of(visitor, many(request, "messageIds")))))


# --- what the visitor may see


def mine_of(visitor: Visitor, request: Request, name: str) -> tuple[list[ChatMember], dict[str, str]]:
    """The user in those of the channels that the query names by `name`; where it names none, in all of their channels,
    page by page. And where it goes on."""
    if keys := many(request, name):
        return chat_inbox.mine(visitor.user, keys), {}
    asked = token_of(request)
    limit = limit_of(asked.get("limit", request.query_params.get("options[limit]", MAX_LIMIT)))
    members = chat_inbox.mine(visitor.user, after=_number(asked.get("after")) or 0, limit=limit + 1)
    more = {"limit": limit, "after": members[limit - 1].channel_id} if len(members) > limit else None
    return members[:limit], {"next": token(more)} if more else {}


def place_of(visitor: Visitor, text: str) -> ChannelMessage:
    try:
        key = UUID(text)
    except ValueError:
        raise act.Missing from None
    place = channel_posts.find(visitor.user.project_id, key)
    if place.channel.deleted_at:
        raise act.Missing  # as the channel itself, and there may be another one of its id
    member_of(visitor, place.channel)
    return place


def places_of(visitor: Visitor, texts: Sequence[str]) -> list[ChannelMessage]:
    keys = []
    for text in texts:
        try:
            keys.append(UUID(text))
        except ValueError:
            continue  # no message has it
    places = channel_posts.several(visitor.user.project_id, keys)
    open_to = {member.channel_id for member in chat_inbox.mine(visitor.user, {place.channel.key for place in places})}
    return sorted((place for place in places if place.channel_id in open_to), key=lambda place: place.pk)


# --- bodies


def _channels(found: Sequence[ChatChannel]) -> dict[str, Any]:
    return {
        "channels": [shapes.channel(each) for each in found],
        **dict.fromkeys(("channelUsers", "messagePreviews", "messageFeedsInfo", "users", "files"), ()),
    }


def _feeds(found: Sequence[ChatChannel]) -> dict[str, Any]:
    return {
        "messageFeeds": [shapes.feed(each) for each in found],
        **dict.fromkeys(("messages", "users", "files"), ()),
    }


def _feeds_of(visitor: Visitor, keys: Sequence[str]) -> HttpResponse:
    members = chat_inbox.mine(visitor.user, keys)
    return json.answer({**_feeds([member.channel for member in members]), "paging": {}})


def _messages(found: Sequence[Posted]) -> dict[str, Any]:
    creators = {each.place.creator_id: each.place.creator.user for each in found if each.place.creator}
    return {
        "messages": [shapes.message(each) for each in found],
        "users": [shapes.user(each) for each in creators.values()],
        **dict.fromkeys(("files", "reactions", "messageFeeds"), ()),
    }


def _document(visitor: Visitor, wanted: dict[str, Any]) -> dict[str, Any]:
    """As the native API takes it. Raises WireError."""
    kind, data = wanted.get("dataType") or "text", wanted.get("data")
    if kind not in ("text", "custom") or not isinstance(data, dict):
        raise WireError(400, BAD_REQUEST, "dataType must be text or custom, and data an object")
    if wanted.get("parentId"):
        raise WireError(400, BAD_REQUEST, "parentId is not supported here: there are no replies")
    return {
        "user_id": visitor.user.user_id,
        "content": {"text": data.get("text", "")} if kind == "text" else {"data": data},
        "external_id": wanted.get("referenceId") or "",
        "metadata": wanted.get("metadata") or {},
        "tags": wanted.get("tags") or [],
    }


def _key(visitor: Visitor, channel: ChatChannel, reference: str, document: dict[str, Any]) -> Key:
    name = f"chat:{channel.pk}:{visitor.user.pk}:{reference}"
    return Key.of(channel.project_id, name[:255], method="POST", path="messages", document=document)


def _number(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63):
        return value
    raise WireError(400, BAD_REQUEST, "options.token is not a token")
