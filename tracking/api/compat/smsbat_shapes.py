"""What SMSBat's requests and answers hold, for the OpenAPI document. The answers themselves are made by
services.smsbat_send and services.smsbat_status, and tests hold them against these."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, RootModel

from tracking.api.describe import Answer
from tracking.fields import MAX_ITEMS
from tracking.smsbat_schema import BatMessage

Word = Literal["scheduled", "processing", "delivered", "undeliverable", "permanenterror"]
LegWord = Word | Literal["not_used"]
ErrorCode = Literal[
    "INVALID_REQUEST",
    "INVALID_PHONE",
    "INVALID_RECIPIENT",
    "INVALID_SENDER",
    "INVALID_ENCODING",
    "MESSAGE_TOO_LONG",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "REQUEST_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "RATE_LIMITED",
    "UNAVAILABLE",
]


class BatFault(Answer):
    code: ErrorCode
    message: str
    field: Annotated[str, Field(description="the wrong one, where it is one", examples=["messages[0].to"])] = ""


class BatRefusal(Answer):
    error: BatFault


# --- sending


class BatMessages(BaseModel):
    """Each message is checked by itself: a wrong one stops none of the others."""

    messages: Annotated[list[BatMessage], Field(min_length=1, max_length=MAX_ITEMS)]


class BatTaken(Answer):
    messageId: UUID
    status: Annotated[Literal["accepted", "failed"], Field(description="failed: on the suppression list")]
    parts: int
    customerMessageId: str | None
    to: Annotated[str, Field(description="as it is stored, E.164")]
    ttl: Annotated[int, Field(description="of flashcalls, seconds")] = 60


class BatRejected(Answer):
    messageId: None
    status: Literal["rejected"]
    parts: Literal[0]
    error: BatFault
    customerMessageId: Annotated[str | None, Field(description="as it was sent")]
    to: Annotated[str | None, Field(description="as it was sent")]


class BatMessagesTaken(Answer):
    messagelistId: int
    messages: Annotated[list[BatTaken | BatRejected], Field(description="in the order in which they were sent")]


# --- what became of one


class BatPlainStatus(Answer):
    messagelistId: Annotated[int | None, Field(description="null of a message of the native API")]
    messageId: UUID
    deliverystatus: Word
    partscount: int
    cost: Annotated[float, Field(description="0 until it is delivered, and where it failed")]


class BatLeg(Answer):
    type: str
    status: LegWord


class BatExtendedStatus(BatPlainStatus):
    """Of a message with a fallback."""

    fallbacks: list[BatLeg]
    extendedStatuses: Annotated[dict[str, LegWord], Field(description="by type; the second leg of a type is `sms_2`")]
    rate: Annotated[float, Field(description="of one part")]
    rateAmount: float
    rateCurrency: str
    billAmount: Annotated[float, Field(description="of every leg that arrived")]
    billCurrency: str


class BatStatus(RootModel[BatExtendedStatus | BatPlainStatus]):
    """The short one where no fallback is configured."""
