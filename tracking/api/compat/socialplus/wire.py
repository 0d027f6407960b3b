"""What social.plus' answers hold, for the OpenAPI document. The answers themselves are made by `shapes` and
the views beside it, and tests hold them against these. What is not offered here is always an empty list."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from tracking.api.describe import Answer
from tracking.channel_schema import Kind

Nothing = Annotated[list[Any], Field(max_length=0)]


class SocialRefusal(Answer):
    status: Literal["error"]
    code: Annotated[int, Field(description="the vendor's: the HTTP status and three digits more", examples=[400400])]
    message: str


class _Timed(Answer):
    createdAt: datetime
    updatedAt: datetime


# --- the objects


class SocialUser(_Timed):
    id: Annotated[str, Field(alias="_id")]
    userId: str
    userInternalId: str
    userPublicId: str
    displayName: str
    isBrand: bool
    isGlobalBan: bool
    isDeleted: bool
    metadata: dict[str, Any]
    tags: Nothing
    roles: Nothing
    permissions: Nothing
    flagCount: int
    path: str


class SocialChannel(_Timed):
    id: Annotated[str, Field(alias="_id")]
    channelId: str
    channelInternalId: str
    channelPublicId: str
    defaultSubChannelId: str
    type: Kind
    displayName: str
    isDeleted: bool
    isPublic: bool
    messageCount: int
    lastActivity: datetime
    metadata: dict[str, Any]
    tags: Nothing
    path: str


class SocialFeed(_Timed):
    """The sub-channel of a channel, of the same id."""

    messageFeedId: str
    channelId: str
    channelPublicId: str
    channelType: Kind
    name: str
    childCount: int
    creatorId: str
    creatorPublicId: str
    lastMessageId: None
    lastMessageTimestamp: datetime
    isDeleted: bool
    messagePreviewId: None
    path: str


class SocialMessage(_Timed):
    messageId: str
    channelId: str
    channelPublicId: str
    channelType: Kind
    messageFeedId: str
    segment: Annotated[int, Field(description="its number in the feed")]
    creatorId: str
    creatorPublicId: str
    dataType: Literal["text", "custom"]
    data: Annotated[dict[str, Any], Field(description="`text`, or what a custom message holds")]
    childCount: int
    reactionCount: int
    reactions: dict[str, Any]
    myReactions: Nothing
    flagCount: int
    mentionedUsers: Nothing
    metadata: dict[str, Any]
    tags: list[str]
    isDeleted: bool
    path: str
    referenceId: Annotated[str, Field(description="in the answer to the post that had one")] = ""


class ContentMarker(_Timed):
    contentId: str
    feedId: str
    creatorId: str
    deliveredCount: int
    readCount: int


class FeedMarker(_Timed):
    feedId: str
    entityId: str
    lastSegment: int
    isDeleted: bool


class UserFeedMarker(_Timed):
    userId: str
    entityId: str
    feedId: str
    deliveredToSegment: int
    readToSegment: int
    unreadCount: int
    oldUnreadCount: int
    lastMentionSegment: int
    isMentioned: bool


class UserEntityMarker(_Timed):
    userId: str
    entityId: str
    unreadCount: int
    isDeleted: bool
    isMentioned: bool


class UserMarker(_Timed):
    userId: str
    unreadCount: int
    isMentioned: bool
    lastSyncAt: datetime


class Paging(Answer):
    next: Annotated[str, Field(description="options[token] of the next page; the last one has none")] = ""


# --- answers


class SocialSession(Answer):
    accessToken: str
    refreshToken: str
    issuedAt: datetime
    expiresAt: datetime
    users: list[SocialUser]
    files: Nothing


class SocialDone(Answer):
    success: bool


class SocialMention(Answer):
    isAllowMentionedChannelEnabled: bool


class SocialPreview(Answer):
    enabled: bool
    isIncludeDeleted: bool


class SocialSwitch(Answer):
    enabled: bool


class SocialSettings(Answer):
    enabled: bool
    mention: SocialMention
    messagePreview: SocialPreview
    marker: SocialSwitch


class SocialUsers(Answer):
    users: list[SocialUser]
    files: Nothing


class SocialChannels(Answer):
    channels: list[SocialChannel]
    channelUsers: Nothing
    messagePreviews: Nothing
    messageFeedsInfo: Nothing
    users: Nothing
    files: Nothing


class SocialChannelPage(SocialChannels):
    paging: Paging


class SocialFeeds(Answer):
    messageFeeds: list[SocialFeed]
    messages: Nothing
    users: Nothing
    files: Nothing


class SocialFeedPage(SocialFeeds):
    paging: Paging


class SocialMessages(Answer):
    messages: list[SocialMessage]
    users: Annotated[list[SocialUser], Field(description="who wrote them")]
    files: Nothing
    reactions: Nothing
    messageFeeds: list[SocialFeed]


class SocialMessagePage(SocialMessages):
    paging: Paging


class UserMarkers(Answer):
    """A user's markers in these channels."""

    userMarkers: list[UserMarker]
    userEntityMarkers: list[UserEntityMarker]
    userFeedMarkers: list[UserFeedMarker]
    feedMarkers: list[FeedMarker]


class UserMarkerPage(UserMarkers):
    paging: Paging


class ContentMarkers(Answer):
    contentMarkers: list[ContentMarker]
    feedMarkers: list[FeedMarker]
    userMarkers: list[UserMarker]


class Receivers(Answer):
    publicUserIds: list[str]
    contentMarkers: list[ContentMarker]
    feedMarkers: list[FeedMarker]
    userFeedMarkers: list[UserFeedMarker]
    paging: Paging
