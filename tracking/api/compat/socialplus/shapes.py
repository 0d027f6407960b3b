"""The objects of social.plus' API, as its clients read them. Pure.

Its internal ids (`_id`, `channelId`, `creatorId`) and its public ones are the same here; each channel has one message
feed (sub-channel), of the channel's own id.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tracking import ids
from tracking.models import ChannelMessage, ChatChannel, ChatMember, ChatUser
from tracking.services.channel_posts import Posted
from tracking.services.channel_receipts import Counts
from tracking.services.chat_inbox import Unread

Shape = dict[str, Any]


def user(found: ChatUser) -> Shape:
    return {
        "_id": found.user_id,
        "userId": found.user_id,
        "userInternalId": found.user_id,
        "userPublicId": found.user_id,
        "displayName": found.display_name or found.user_id,
        "isBrand": False,
        "isGlobalBan": False,
        "isDeleted": False,
        "metadata": {},
        "tags": [],
        "roles": [],
        "permissions": [],
        "flagCount": 0,
        "path": f"user/{found.user_id}",
        **_times(found.created_at, found.updated_at),
    }


def channel(found: ChatChannel) -> Shape:
    return {
        "_id": found.key,
        "channelId": found.key,
        "channelInternalId": found.key,
        "channelPublicId": found.key,
        "defaultSubChannelId": found.key,
        "type": found.kind,
        "displayName": found.name or found.key,
        "isDeleted": found.deleted_at is not None,
        "isPublic": False,
        "messageCount": found.last_segment,
        "lastActivity": found.updated_at,
        "metadata": {},
        "tags": [],
        "path": f"channel/{found.key}",
        **_times(found.created_at, found.updated_at),
    }


def feed(found: ChatChannel) -> Shape:
    return {
        "messageFeedId": found.key,
        "channelId": found.key,
        "channelPublicId": found.key,
        "channelType": found.kind,
        "name": found.name or found.key,
        "childCount": found.last_segment,
        "creatorId": "",
        "creatorPublicId": "",
        "lastMessageId": None,
        "lastMessageTimestamp": found.updated_at,
        "isDeleted": found.deleted_at is not None,
        "messagePreviewId": None,
        "path": f"channel/{found.key}/messageFeed/{found.key}",
        **_times(found.created_at, found.updated_at),
    }


def message(posted: Posted, reference: str = "") -> Shape:
    place, body, key = posted.place, posted.body, posted.channel.key
    made = ids.time_of(place.pk)
    text = body.get("text")
    return {
        "messageId": str(place.pk),
        "channelId": key,
        "channelPublicId": key,
        "channelType": posted.channel.kind,
        "messageFeedId": key,
        "segment": place.segment,
        "creatorId": posted.creator,
        "creatorPublicId": posted.creator,
        "dataType": "custom" if text is None and body.get("data") else "text",
        "data": {"text": text} if text is not None else body.get("data", {}),
        "childCount": 0,
        "reactionCount": 0,
        "reactions": {},
        "myReactions": [],
        "flagCount": 0,
        "mentionedUsers": [],
        "metadata": body.get("metadata", {}),
        "tags": body.get("tags", []),
        "isDeleted": False,
        "path": f"channel/{key}/messageFeed/{key}/message/{place.pk}",
        **({"referenceId": reference} if reference else {}),
        **_times(made, made),
    }


# --- markers


def content_marker(place: ChannelMessage, found: Counts) -> Shape:
    made = ids.time_of(place.pk)
    return {
        "contentId": str(place.pk),
        "feedId": place.channel.key,
        "creatorId": place.creator.user.user_id if place.creator else "",
        "deliveredCount": found.delivered,
        "readCount": found.read,
        **_times(made, made),
    }


def feed_marker(found: ChatChannel) -> Shape:
    return {
        "feedId": found.key,
        "entityId": found.key,
        "lastSegment": found.last_segment,
        "isDeleted": found.deleted_at is not None,
        **_times(found.created_at, found.updated_at),
    }


def user_feed_marker(member: ChatMember, found: ChatChannel) -> Shape:
    behind = max(found.last_segment - member.read_to_segment, 0)
    return {
        "userId": member.user.user_id,
        "entityId": found.key,
        "feedId": found.key,
        "deliveredToSegment": member.delivered_to_segment,
        "readToSegment": member.read_to_segment,
        "unreadCount": behind,
        "oldUnreadCount": behind,
        "lastMentionSegment": 0,
        "isMentioned": False,
        **_times(member.created_at, member.updated_at),
    }


def user_entity_marker(member: ChatMember, found: ChatChannel) -> Shape:
    return {
        "userId": member.user.user_id,
        "entityId": found.key,
        "unreadCount": max(found.last_segment - member.read_to_segment, 0),
        "isDeleted": found.deleted_at is not None,
        "isMentioned": False,
        **_times(member.created_at, member.updated_at),
    }


def user_marker(found: ChatUser, unread: Unread, synced_at: datetime | None = None) -> Shape:
    return {
        "userId": found.user_id,
        "unreadCount": unread.messages,
        "isMentioned": False,
        "lastSyncAt": synced_at or unread.changed_at,
        **_times(found.created_at, unread.changed_at),
    }


def markers(found: ChatUser, unread: Unread, members: Sequence[ChatMember], synced_at: datetime | None = None) -> Shape:
    """A user's markers in these channels: what every mark is answered with."""
    return {
        "userMarkers": [user_marker(found, unread, synced_at)],
        "userEntityMarkers": [user_entity_marker(member, member.channel) for member in members],
        "userFeedMarkers": [user_feed_marker(member, member.channel) for member in members],
        "feedMarkers": [feed_marker(member.channel) for member in members],
    }


def _times(created: datetime, updated: datetime) -> Shape:
    return {"createdAt": created, "updatedAt": updated}
