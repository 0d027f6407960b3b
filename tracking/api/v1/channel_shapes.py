"""What the answers of version 1 about channels hold, for the OpenAPI document. The answers themselves are made by the
services of channels, members, their messages, receipts and sessions, and a test holds them against these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from tracking.api.describe import Answer
from tracking.api.v1.shapes import MessageStatus
from tracking.channel_schema import Kind, MembershipName


class ChatChannel(Answer):
    id: str
    name: str
    type: Kind
    last_segment: Annotated[int, Field(description="the number of the newest message")]
    created_at: datetime
    updated_at: datetime


class ChatChannelPage(Answer):
    channels: list[ChatChannel]
    next_cursor: str | None


class ChannelMember(Answer):
    user_id: str
    display_name: str
    membership: MembershipName
    joined_at: datetime


class ChannelMembersPut(Answer):
    members: list[ChannelMember]


class ChannelMemberPage(ChannelMembersPut):
    next_cursor: str | None


class ChannelMessage(Answer):
    id: UUID
    channel_id: str
    segment: int
    user_id: str | None
    created_at: datetime
    content: Annotated[dict[str, Any] | None, Field(description="null where it is not kept any more")]
    metadata: dict[str, Any]
    tags: list[str]


class ChannelMessagePage(Answer):
    messages: list[ChannelMessage]
    next_cursor: str | None


class ChannelMessageTaken(MessageStatus):
    channel_id: str
    segment: Annotated[int, Field(description="its number in the channel")]


class ChannelMarker(Answer):
    """How far a member got."""

    user_id: str
    delivered_to_segment: int
    read_to_segment: int
    updated_at: datetime


class ChannelMarkers(Answer):
    markers: list[ChannelMarker]


class ReceiptCounts(Answer):
    id: UUID
    channel_id: str
    segment: int
    delivered: int
    read: int


class Receiver(Answer):
    """With the marker that was asked for."""

    user_id: str
    display_name: str
    membership: MembershipName
    delivered_to_segment: int = 0
    read_to_segment: int = 0


class ReceiverPage(Answer):
    users: list[Receiver]
    next_cursor: str | None


class ChatUser(Answer):
    user_id: str
    display_name: str
    receipts_hidden: bool
    created_at: datetime


class ChatUserToken(Answer):
    user_id: str
    token: str
    expires_at: datetime
