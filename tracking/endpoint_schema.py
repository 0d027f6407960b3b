"""What requests about webhook endpoints may hold. Called by the endpoints' services. No ORM."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from providers.addresses import AddressPolicy, AddressRefused
from providers.targets import check
from tracking import signing_out
from tracking.fields import Line, Moment
from tracking.models.outbound import TEST, DeliveryState, EventType, PayloadStyle
from tracking.paging import Key, KeyPageQuery
from tracking.schema import FieldError, Invalid, Strict, checked

MAX_OVERLAP = timedelta(days=30)
_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_OURS = re.compile(
    r"^(webhook-.*|x-chatapi-signature|content-.*|host|connection|transfer-encoding|accept-encoding|te|trailer|upgrade"
    r"|user-agent|expect|keep-alive|proxy-.*)\Z",
    re.IGNORECASE,
)
EVENTS: list[Any] = [*(event.value for event in EventType), TEST]  # that deliveries are of


def _told(value: str) -> str:
    if value not in EVENTS:
        raise PydanticCustomError("event", f"must be one of {', '.join(EVENTS)}")
    return value


def _secret(value: str) -> str:
    if fault := signing_out.fault(value):
        raise PydanticCustomError("secret", "{fault}", {"fault": fault})
    return value


def _events(value: list[str]) -> list[str]:
    known = [event.value for event in EventType]
    if unknown := [event for event in value if event not in known]:
        raise PydanticCustomError(
            "event",
            "does not know {unknown}; there are {known}",
            {"unknown": ", ".join(unknown)[:200], "known": ", ".join(known)},
        )
    return [event for event in known if event in value]


def _headers(value: dict[str, str | None]) -> dict[str, str | None]:
    for name, text in value.items():
        if not _NAME.match(name):
            raise PydanticCustomError("header", "has a name that is not a header's name")
        if _OURS.match(name):
            raise PydanticCustomError("header", "must not hold {name}: it is set here", {"name": name})
        if text is not None and (not text.isascii() or not text.isprintable() or text != text.strip()):
            raise PydanticCustomError("header", "has a value that is not printable ASCII without spaces around it")
    if len({name.lower() for name in value}) < len(value):
        raise PydanticCustomError("header", "names the same header twice")
    return value


Url = Annotated[Line, Field(min_length=1, max_length=2_000)]
Events = Annotated[list[Annotated[Line, Field(max_length=100)]], Field(min_length=1, max_length=50)]
EventTypes = Annotated[Events, AfterValidator(_events)]
Secret = Annotated[Line, Field(min_length=1, max_length=256), AfterValidator(_secret)]
OwnHeaders = Annotated[
    dict[str, Annotated[str, Field(max_length=1_000)] | None], Field(max_length=20), AfterValidator(_headers)
]


Style = Annotated[PayloadStyle, Field(strict=False)]


class NewEndpoint(Strict):
    url: Url
    events: EventTypes
    secret: Secret | None = None
    description: Annotated[Line, Field(max_length=200)] = ""
    custom_headers: OwnHeaders = {}
    max_in_flight: Annotated[int, Field(ge=1, le=32)] = 8
    style: Style = PayloadStyle.STANDARD


class EndpointChanges(Strict):
    """What is left out stays. A header whose value is null keeps the value that it has."""

    url: Url | None = None
    events: EventTypes | None = None
    description: Annotated[Line, Field(max_length=200)] | None = None
    custom_headers: OwnHeaders | None = None
    max_in_flight: Annotated[int, Field(ge=1, le=32)] | None = None
    style: Style | None = None


class Rotation(Strict):
    secret: Secret | None = None
    overlap_hours: Annotated[int, Field(ge=0, le=MAX_OVERLAP // timedelta(hours=1))] = 24


class Period(Strict):
    """Of deliveries, by the time when they were made."""

    since: Moment
    until: Moment | None = None
    states: Annotated[list[Literal["failed", "delivered"]], Field(min_length=1)] = ["failed"]
    cursor: Key | None = None


class DeliveryQuery(KeyPageQuery):
    state: DeliveryState | None = None
    event: Annotated[str, AfterValidator(_told), Field(json_schema_extra={"enum": EVENTS})] | None = None


_NEW = TypeAdapter(NewEndpoint)
_CHANGES = TypeAdapter(EndpointChanges)
_ROTATION = TypeAdapter(Rotation)
_PERIOD = TypeAdapter(Period)


def new_endpoint(document: Any, policy: AddressPolicy) -> NewEndpoint:
    """Raises Invalid."""
    wanted = checked(_NEW, document)
    check_url(wanted.url, policy)
    return wanted


def changes(document: Any, policy: AddressPolicy) -> dict[str, Any]:
    """The fields that are named, and their values. Raises Invalid."""
    wanted = checked(_CHANGES, document)
    given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    if empty := [name for name, value in given.items() if value is None]:
        raise Invalid([FieldError(f"/{name}", "must not be null") for name in empty])
    if wanted.url is not None:
        check_url(wanted.url, policy)
    return given


def check_url(url: str, policy: AddressPolicy, pointer: str = "/url") -> None:
    """Raises Invalid."""
    try:
        check(url, policy)
    except AddressRefused as refused:
        raise Invalid([FieldError(pointer, f"cannot be called: {refused}")]) from None


def rotation(document: Any) -> Rotation:
    return checked(_ROTATION, document)


def period(document: Any) -> Period:
    wanted = checked(_PERIOD, document)
    if wanted.until is not None and wanted.until <= wanted.since:
        raise Invalid([FieldError("/until", "must be after since")])
    return wanted
