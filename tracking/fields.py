"""The kinds of value that a request may hold, as pydantic types. Pure; used by the schema.

Nothing that passes here can fail in the database: no NUL, no text longer than its column, no number or nesting that
jsonb or the encoder would refuse.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field
from pydantic_core import PydanticCustomError

from providers.email.mime import RESERVED
from tracking import address

MAX_ITEMS = 1_000
MAX_DEPTH = 20
MAX_NODES = 50_000
MAX_NUMBER = 2**63

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
_HEADER = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_BASE64 = re.compile(r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
_RFC3339 = re.compile(r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)$")


def _text(value: str) -> str:
    if "\x00" in value:
        raise PydanticCustomError("nul", "must not contain a NUL character")
    return value


def _line(value: str) -> str:
    if _CONTROL.search(value):
        raise PydanticCustomError("control", "must be one line without control characters")
    return value


def _moment(value: Any) -> datetime:
    if not isinstance(value, str) or not _RFC3339.match(value):
        raise PydanticCustomError("moment", "must be an RFC 3339 date and time with its offset from UTC")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("moment", "is not a possible date and time") from None


def _json(value: dict[str, Any]) -> dict[str, Any]:
    """Any JSON, within what can be stored and encoded again."""
    nodes: list[tuple[Any, int]] = [(value, 1)]
    seen = 0
    while nodes:
        node, depth = nodes.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_NODES:
            raise PydanticCustomError("complex", "must not be nested deeper than 20 levels or hold over 50,000 values")
        if isinstance(node, dict):
            nodes.extend((child, depth + 1) for child in node.values())
            nodes.extend((key, depth) for key in node)
        elif isinstance(node, list):
            nodes.extend((child, depth + 1) for child in node)
        else:
            _scalar(node)
    return value


def _scalar(value: Any) -> None:
    if isinstance(value, str):
        _text(value)
    elif isinstance(value, int | float) and abs(value) >= MAX_NUMBER:
        # jsonb gives 1e20 back as an integer, which would be too long to be encoded again
        raise PydanticCustomError("number", "must not contain a number beyond 64 bits")


def _headers(value: dict[str, str]) -> dict[str, str]:
    if not all(_HEADER.match(name) for name in value):
        raise PydanticCustomError("header", "has a name that is not a header's name")
    if reserved := sorted(name for name in value if name.lower() in RESERVED or name.lower().startswith("content-")):
        raise PydanticCustomError("header", "must not hold {names}", {"names": ", ".join(reserved)})
    if len({name.lower() for name in value}) < len(value):
        raise PydanticCustomError("header", "names the same header twice")
    return value


def _base64(value: str) -> str:
    if not _BASE64.match(value):
        raise PydanticCustomError("base64", "must be base64 (RFC 4648) without line breaks")
    return value


def _mail(value: str) -> str:
    try:
        return address.email(value)
    except address.Bad as bad:
        raise PydanticCustomError("address", "{why}", {"why": str(bad)}) from None


def _mailbox(value: str) -> str:
    try:
        return address.mailbox(value)
    except address.Bad as bad:
        raise PydanticCustomError("address", "{why}", {"why": str(bad)}) from None


# what has two forms is checked by the rules of the one that it has, and by no other's
FORMS = TEXT_FORM, OTHER_FORM = "[text]", "[other]"
by_form = Discriminator(lambda value: TEXT_FORM if isinstance(value, str) else OTHER_FORM)

Text = Annotated[str, AfterValidator(_text)]
Line = Annotated[str, AfterValidator(_line)]
Json = Annotated[dict[str, Any], AfterValidator(_json)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Mail = Annotated[str, Field(max_length=320), AfterValidator(_mail)]
Mailbox = Annotated[str, Field(max_length=640), AfterValidator(_mailbox)]
Word = Annotated[Line, Field(min_length=1, max_length=100)]
Recipients = Annotated[list[Annotated[str, Field(max_length=500)]], Field(min_length=1, max_length=MAX_ITEMS)]
ChannelName = Literal["email", "sms", "push", "chat"]
CHANNELS = get_args(ChannelName)
Headers = Annotated[dict[str, Annotated[Line, Field(max_length=2_000)]], Field(max_length=50), AfterValidator(_headers)]
Base64 = Annotated[str, Field(min_length=1), AfterValidator(_base64)]
