"""social.plus' API: markers, who got a message and who read it. docs/channels.md says what is different here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from tracking import cursors
from tracking.api import json
from tracking.api.compat.socialplus import bodies, shapes, wire
from tracking.api.compat.socialplus.base import (
    BAD_REQUEST,
    View,
    Visitor,
    WireError,
    body_of,
    channel_of,
    limit_of,
    many,
    token,
    token_of,
)
from tracking.api.compat.socialplus.messages import mine_of, place_of, places_of
from tracking.api.describe import Operation
from tracking.api.marking import finish
from tracking.models import ChannelMessage, ChatMember, Membership
from tracking.services import channel_posts, channel_receipts, channels, chat_inbox, markers
from tracking.services.act import Missing
from tracking.services.channel_receipts import Counts
from tracking.services.markers import Moved, Reach


def _by_both(operation: Operation) -> dict[str, Operation]:
    """The vendor's own client uses PUT for some and POST for others."""
    return {"PUT": operation, "POST": operation}


class _Marking(View):
    """The answer holds the user's markers as they are now."""

    http_method_names = ["put", "post"]

    def put(self, request: Request, **names: str) -> HttpResponse:
        return self.post(request, **names)

    def post(self, request: Request, **names: str) -> HttpResponse:
        visitor = self.visitor(request)
        members = [channel_of(visitor, key)[1] for key in self.keys(request, names)]
        moved = [finish(each) for each in self.move(members, request)]
        return json.answer(_mine(visitor, moved))

    def keys(self, request: Request, names: dict[str, str]) -> list[str]:
        return [names["feed"]]

    def move(self, members: Sequence[ChatMember], request: Request) -> Iterable[Moved]:
        raise NotImplementedError


class MarkDelivering(_Marking):
    describes = _by_both(
        Operation(
            "The user got a message, and every one before it",
            wire.UserMarkers,
            body=bodies.SocialDelivering,
            example={"messageId": "01a1fb82-3910-771d-9a45-86896146fa2f"},
        )
    )

    def move(self, members: Sequence[ChatMember], request: Request) -> Iterable[Moved]:
        (member,) = members
        place = _message(member, body_of(request).get("messageId"))
        yield markers.mark(member.channel, {member.pk: Reach(place.segment)})


class MarkRead(_Marking):
    """Up to a segment, or to the newest message where none is named."""

    describes = _by_both(
        Operation("The user has read", wire.UserMarkers, body=bodies.SocialRead, example={"readToSegment": 1})
    )

    def move(self, members: Sequence[ChatMember], request: Request) -> Iterable[Moved]:
        (member,) = members
        segment = body_of(request).get("readToSegment")
        if segment is None:
            yield chat_inbox.read_all(member)
            return
        if isinstance(segment, bool) or not isinstance(segment, int) or not 0 <= segment < 2**63:
            raise WireError(400, BAD_REQUEST, "readToSegment must be a whole number from 0")
        yield markers.mark(member.channel, {member.pk: Reach(segment, segment)})


class StartReading(_Marking):
    describes = _by_both(Operation("The user has the feed open", wire.UserMarkers))

    def move(self, members: Sequence[ChatMember], request: Request) -> Iterable[Moved]:
        return chat_inbox.start_reading(members)


class Reading(StartReading):
    describes = _by_both(
        Operation(
            "The user has several feeds open",
            wire.UserMarkers,
            body=bodies.SocialReading,
            example={"messageFeedIds": ["room-1"]},
            errors=(404,),
        )
    )

    def keys(self, request: Request, names: dict[str, str]) -> list[str]:
        found = body_of(request).get("messageFeedIds")
        if not isinstance(found, list) or len(found) > chat_inbox.CHANGES:
            raise WireError(400, BAD_REQUEST, f"messageFeedIds must be a list of at most {chat_inbox.CHANGES} ids")
        return list(dict.fromkeys(map(str, found)))


class StopReading(_Marking):
    """What came until now is read."""

    describes = _by_both(Operation("The user has closed the feed", wire.UserMarkers))

    def move(self, members: Sequence[ChatMember], request: Request) -> Iterable[Moved]:
        (member,) = members
        yield chat_inbox.stop_reading(member)


# --- markers are read


class Mine(View):
    """In these channels; without ids, in all of the user's, page by page."""

    describes = {"GET": Operation("The user's markers", wire.UserMarkerPage, query=bodies.ChannelQuery)}
    name = "channelIds"  # what the query calls them

    def get(self, request: Request) -> HttpResponse:
        visitor = self.visitor(request)
        members, paging = mine_of(visitor, request, self.name)
        return json.answer({**shapes.markers(visitor.user, chat_inbox.unread(visitor.user), members), "paging": paging})


class MineOfFeeds(Mine):
    """In these feeds; without ids, in all of the user's, page by page."""

    describes = {"GET": Operation("The user's markers", wire.UserMarkerPage, query=bodies.FeedQuery)}
    name = "messageFeedIds"


class Sync(View):
    """Answered without feedMarkers: there is nothing more."""

    describes = {
        "GET": Operation("What changed since the device asked last", wire.UserMarkers, query=bodies.SocialSync),
        "POST": Operation(
            "What changed since the device asked last",
            wire.UserMarkers,
            body=bodies.SocialSync,
            example={"deviceLastSyncAt": "2026-11-20T00:00:00Z"},
        ),
    }
    http_method_names = ["get", "head", "post"]

    def get(self, request: Request) -> HttpResponse:
        return self._since(request, request.query_params.get("deviceLastSyncAt"))

    def post(self, request: Request) -> HttpResponse:
        return self._since(request, body_of(request).get("deviceLastSyncAt"))

    def _since(self, request: Request, text: Any) -> HttpResponse:
        user = self.visitor(request).user
        changes = chat_inbox.changed_since(user, _moment(text))
        return json.answer(shapes.markers(user, chat_inbox.unread(user), changes.members, changes.until))


class MessageMarkers(View):
    describes = {
        "GET": Operation(
            "How many got each of these messages, and how many read it", wire.ContentMarkers, query=bodies.MessageIds
        )
    }

    def get(self, request: Request) -> HttpResponse:
        visitor = self.visitor(request)
        places = places_of(visitor, many(request, "messageIds"))
        feeds = {place.channel_id: place.channel for place in places}
        return json.answer(
            {
                "contentMarkers": [shapes.content_marker(place, found) for place, found in _counted(places)],
                "feedMarkers": [shapes.feed_marker(each) for each in feeds.values()],
                "userMarkers": [shapes.user_marker(visitor.user, chat_inbox.unread(visitor.user))],
            }
        )


class MessageUsers(View):
    """The slowest first, page by page; nobody where the project hides its receipts."""

    describes = {"GET": Operation("Who got the message, or who read it", wire.Receivers, query=bodies.ReceiverQuery)}

    def get(self, request: Request, message: str, kind: str) -> HttpResponse:
        place, asked = place_of(self.visitor(request), message), token_of(request)
        limit = limit_of(asked.get("limit", asked.get("first")))
        wanted = many(request, "memberships")
        if set(wanted) - set(Membership.values):
            raise WireError(400, BAD_REQUEST, f"memberships must be some of {', '.join(Membership.values)}")
        try:
            page = channel_receipts.page(
                channel_receipts.visible(place), kind, memberships=wanted or None, after=_after(asked), limit=limit
            )
        except channel_receipts.Hidden:
            page = channel_receipts.Page([], None)
        found = ChatMember.objects.select_related("user").in_bulk([each.member_id for each in page.receivers])
        ((_, counts),) = _counted([place])
        # `first` is what the client reads as the next page's limit
        more = {"after": cursors.encode(page.next), "first": limit, "limit": limit} if page.next else None
        return json.answer(
            {
                "publicUserIds": [each.user_id for each in page.receivers],
                "contentMarkers": [shapes.content_marker(place, counts)],
                "feedMarkers": [shapes.feed_marker(place.channel)],
                "userFeedMarkers": [
                    shapes.user_feed_marker(found[each.member_id], place.channel) for each in page.receivers
                ],
                "paging": {"next": token(more)} if more else {},
            }
        )


def _counted(places: Sequence[ChannelMessage]) -> list[tuple[ChannelMessage, Counts]]:
    """Nothing is counted where the project hides it."""
    if not places or channels.settings_of(places[0].channel.project_id).receipts_hidden:
        return [(place, Counts(0, 0)) for place in places]
    found: dict[Any, Counts] = {}
    for channel_id in {place.channel_id for place in places}:
        found |= channel_receipts.counts([place for place in places if place.channel_id == channel_id])
    return [(place, found[place.pk]) for place in places]


def _mine(visitor: Visitor, moved: Sequence[Moved]) -> dict[str, Any]:
    keys = {member.pk for each in moved for member in each.members}
    members = list(ChatMember.objects.select_related("channel", "user").filter(pk__in=keys).order_by("pk"))
    return shapes.markers(visitor.user, chat_inbox.unread(visitor.user), members)


def _message(member: ChatMember, text: Any) -> ChannelMessage:
    """Raises Missing, also for a message of another channel."""
    try:
        place = channel_posts.find(member.channel.project_id, UUID(str(text)))
    except ValueError:
        raise Missing from None
    if place.channel_id != member.channel_id:
        raise Missing
    return place


def _after(asked: dict[str, Any]) -> tuple[int, int] | None:
    if asked.get("before") is not None:
        raise WireError(400, BAD_REQUEST, "pages are turned forward here: options.token.before is not supported")
    text = asked.get("after")
    if text is None:
        return None
    try:
        marker, member = cursors.decode(str(text), 2)
    except cursors.NotACursor:
        raise WireError(400, BAD_REQUEST, "options.token.after is not a place in this list") from None
    return marker, member


def _moment(text: Any) -> datetime:
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise WireError(400, BAD_REQUEST, "deviceLastSyncAt must be a date and time") from None
