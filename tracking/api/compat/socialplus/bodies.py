"""What social.plus' requests hold, for the OpenAPI document. The views beside it read them by hand: what an SDK sends
beside these does not matter."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from tracking.channel_schema import MembershipName

MAX_IDS = 1_000  # in a query

Ids = Annotated[list[str], Field(description=f"at most {MAX_IDS:,}, and what an address can hold")]


class SocialLogin(BaseModel):
    userId: str
    displayName: str | None = None
    authToken: Annotated[str | None, Field(description="where the project wants secure sessions")] = None


class SocialPost(BaseModel):
    messageFeedId: str
    dataType: Literal["text", "custom"] = "text"
    data: Annotated[dict[str, Any], Field(description="`text`, or what a custom message holds")]
    referenceId: Annotated[str, Field(description="the same again is the same message")] = ""
    metadata: dict[str, Any] = {}
    tags: list[str] = []


class SocialDelivering(BaseModel):
    messageId: str


class SocialRead(BaseModel):
    readToSegment: Annotated[int | None, Field(ge=0, lt=2**63, description="else all that is there")] = None


class SocialReading(BaseModel):
    messageFeedIds: list[str]


class SocialSync(BaseModel):
    deviceLastSyncAt: datetime


# --- queries


class Token(BaseModel):
    token: Annotated[str | None, Field(alias="options[token]", description="paging.next of the page before")] = None


class UserIds(BaseModel):
    ids: Annotated[Ids, Field(alias="userIds[]")] = []


class ChannelIds(BaseModel):
    ids: Annotated[Ids, Field(alias="channelIds[]")] = []


class FeedIds(BaseModel):
    ids: Annotated[Ids, Field(alias="messageFeedIds[]")] = []


class MessageIds(BaseModel):
    ids: Annotated[Ids, Field(alias="messageIds[]")] = []


class ChannelQuery(Token, ChannelIds):
    limit: Annotated[int | None, Field(alias="options[limit]", ge=1)] = None


class FeedQuery(Token, FeedIds):
    limit: Annotated[int | None, Field(alias="options[limit]", ge=1)] = None


class MessageQueryOfFeed(Token):
    messageFeedId: str
    limit: Annotated[int | None, Field(alias="options[limit]", ge=1)] = None
    sort: Annotated[Literal["segmentDesc", "segmentAsc"] | None, Field(alias="options[sortBy]")] = None


class ReceiverQuery(Token):
    memberships: Annotated[list[MembershipName], Field(alias="memberships[]")] = []
