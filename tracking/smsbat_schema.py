"""What SMSBat's clients may send, and how Postroom itself says it. No ORM; called by services.smsbat_send."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tracking import address, parts, words
from tracking.fields import MAX_ITEMS, Json, Line, Text
from tracking.schema import MAX_TTL, Invalid, Strict, checked
from tracking.smsbat_words import TYPES

MAX_PARTS = 255  # the standard numbers parts in an octet
FLASHCALL_TTL = 60
_SENDER = re.compile(r"^(?:[A-Za-z0-9]{1,11}|\+?[0-9]{3,15})\Z")


CODES = {  # by HTTP status
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """SMSBat's error. `field`: in its own notation, messages[0].to."""

    code: str
    message: str
    field: str = ""

    def shape(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message} | ({"field": self.field} if self.field else {})


class Faulty(Exception):
    """The request, or the whole of its messages, cannot be taken."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class BatFallback(Strict):
    type: Literal["sms"]
    text: Annotated[Text, Field(min_length=1, max_length=50_000)]


Kind = Literal[
    "sms", "viber_promo", "viber_trans", "viber_carousel", "viber_survey", "viber_otp", "rcs", "flashcall"
]  # as in TYPES


class BatMessage(Strict):
    """A message of SMSBat's send request."""

    sender: Annotated[Line, Field(min_length=1, max_length=50, alias="from")]
    to: Annotated[Line, Field(max_length=40)]
    type: Kind
    text: Annotated[Text, Field(max_length=50_000)] = ""
    customer_message_id: Annotated[Line, Field(max_length=200, alias="customerMessageId")] = ""
    ttl: Annotated[int, Field(ge=1, le=MAX_TTL)] | None = None
    message_data: Annotated[Json, Field(alias="messageData")] = {}
    fallback: BatFallback | None = None

    def native(self, now: datetime, provider: str | None) -> dict[str, Any]:
        """The same, as POST /v1/notifications takes it. With a fallback, the ttl is that of the first leg."""
        document: dict[str, Any] = {
            "channel": self.channel,
            "recipient": self.to,
            "sender": self.sender,
            "content": {"text": self.text, "data": self.message_data},
            "external_id": self.customer_message_id,
            "category": self.type,
        }
        if provider:
            document["provider"] = provider
        if self.fallback:
            leg = {"channel": "sms", "recipient": self.to, "sender": self.sender, "ttl": self.lifetime}
            document["fallback"] = [{**leg, "content": {"text": self.fallback.text}}]
        elif self.lifetime:
            document["expires_at"] = (now + timedelta(seconds=self.lifetime)).isoformat()
        return document

    @property
    def channel(self) -> str:
        return "sms" if self.type == "sms" else "chat"

    @property
    def lifetime(self) -> int | None:
        return self.ttl or (FLASHCALL_TTL if self.type == "flashcall" else None)

    @property
    def carrier(self) -> str:
        return TYPES[self.type]


class MessageList(Strict):
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ITEMS)]


_LIST = TypeAdapter(MessageList)
_MESSAGE = TypeAdapter(BatMessage)
_CODES = {"to": "INVALID_PHONE", "from": "INVALID_SENDER"}
_TOO_LONG, _NUL = ("string_too_long", "too_long"), "nul"


def items(document: Any) -> list[dict[str, Any]]:
    """Raises Faulty."""
    try:
        return checked(_LIST, document).messages
    except Invalid as invalid:
        pointer, detail = invalid.errors[0]
        field = _field(pointer.split("/")[1:])
        raise Faulty(Fault("INVALID_REQUEST", f"{field or 'the request'}: {detail}", field)) from None


def message(document: dict[str, Any], index: int, region: str) -> BatMessage | Fault:
    """A valid message, its number in the one form that is stored; or the first thing that is wrong with it."""
    place = f"messages[{index}]"
    try:
        found = _MESSAGE.validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return _fault(place, [str(step) for step in first["loc"]], first["type"], words.of(first))
    try:
        found.to = address.phone(found.to, region)
    except address.Bad as bad:
        return Fault("INVALID_PHONE", f"{place}.to {bad}", f"{place}.to")
    return _beyond(found, place) or found


def _fault(place: str, steps: list[str], kind: str, text: str) -> Fault:
    field = _field([place, *steps])
    code = _CODES.get(steps[0] if steps else "", "INVALID_REQUEST")
    if steps and steps[-1] == "text" and kind in _TOO_LONG:
        code = "MESSAGE_TOO_LONG"
    if kind == _NUL:
        code = "INVALID_ENCODING"
    return Fault(code, f"{field} {text}", field)


def _field(steps: list[str]) -> str:
    """SMSBat's notation; a field's name is the caller's, and shortened."""
    text = "".join(f"[{step}]" if step.isdecimal() else f".{step[:100]}" for step in steps)
    return text.removeprefix(".")


def _beyond(found: BatMessage, place: str) -> Fault | None:
    """What one field alone cannot tell."""
    by_sms = found.type == "sms" or found.fallback is not None
    if by_sms and not _SENDER.match(found.sender):
        detail = "must be 1 to 11 Latin letters and digits, or a number"
        return Fault("INVALID_SENDER", f"{place}.from {detail}", f"{place}.from")
    if not found.text and not found.message_data:
        return Fault("INVALID_REQUEST", f"{place}.text is needed", f"{place}.text")
    texts = {"text": found.text if found.type == "sms" else "", "fallback.text": getattr(found.fallback, "text", "")}
    for name, text in texts.items():
        if parts.count(text).parts > MAX_PARTS:
            return Fault("MESSAGE_TOO_LONG", f"{place}.{name} takes more than {MAX_PARTS} parts", f"{place}.{name}")
    return None
