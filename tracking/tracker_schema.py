"""What DeliveryTracker's calls may hold. Used by tracker. No ORM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from providers.addresses import AddressPolicy, AddressRefused
from providers.targets import check
from tracking import address
from tracking.endpoint_schema import OwnHeaders, Secret, Url
from tracking.fields import Json, Line, Text
from tracking.kmsg import TOLD_AT, DeliveryWebhook, MessageStatus
from tracking.schema import FieldError, Invalid, Strict, checked

MAX_WEBHOOKS = 10
DAY = 86_400_000  # milliseconds


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError("zone", "must have a time zone")
    return value.astimezone(UTC)


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from the database: a date becomes its text."""
    try:
        found: dict[str, Any] = orjson.loads(orjson.dumps(value))
    except TypeError:
        raise PydanticCustomError("json", "must hold nothing but what JSON can say") from None
    return found


def _events(value: list[str]) -> list[str]:
    known = [each.value for each in TOLD_AT]
    if unknown := [event for event in value if event not in known]:
        words = {"unknown": ", ".join(unknown)[:200], "known": ", ".join(known)}
        raise PydanticCustomError("event", "does not know {unknown}; there are {known}", words)
    return [event for event in known if event in value]


Plain = Annotated[Json, AfterValidator(_plain)]
Aware = Annotated[datetime, AfterValidator(_aware)]
Name = Annotated[Line, Field(min_length=1, max_length=200)]
Milliseconds = Annotated[int, Field(ge=1, le=30_000)]
Retries = Annotated[int, Field(ge=0, le=10)]
Events = Annotated[
    list[Annotated[Line, Field(max_length=100)]], Field(min_length=1, max_length=20), AfterValidator(_events)
]


class Persistence(Strict):
    """Everything is kept: `enabled` can only say so. `retention_days`: how long what was told to webhooks of single
    messages stays after the last of these messages."""

    enabled: Literal[True] = True
    retention_days: Annotated[int, Field(ge=1, le=3_650)] = 30


class Options(Strict):
    """Times in milliseconds, as the document has them."""

    tracking_interval: Annotated[int, Field(ge=100, le=DAY)] = 5_000
    max_tracking_duration: Annotated[int, Field(ge=1_000, le=365 * DAY)] = DAY
    batch_size: Annotated[int, Field(ge=1, le=5_000)] = 100
    enable_webhooks: bool = True
    webhook_retries: Retries = 3
    webhook_timeout: Milliseconds = 5_000
    persistence: Persistence = Persistence()


class Webhook(Strict):
    url: Url
    events: Events
    secret: Secret | None = None
    headers: OwnHeaders = {}
    timeout: Milliseconds
    retries: Retries


class Named(Strict):
    message_id: Name


class Wanted(Strict):
    """What `track_message` is to follow."""

    message_id: Name
    phone_number: Annotated[Text, Field(max_length=500)]
    template_id: Annotated[Line, Field(max_length=200)] = ""
    provider: Annotated[Line, Field(min_length=1, max_length=50)] | None = None
    initial_status: Annotated[MessageStatus, Field(strict=False)] = MessageStatus.QUEUED
    metadata: Plain = {}
    webhooks: Annotated[list[Webhook], Field(max_length=MAX_WEBHOOKS)] = []
    provider_message_id: Annotated[Line, Field(max_length=300)] = ""


class Error(Strict):
    code: Annotated[Line, Field(max_length=100)]
    message: Annotated[Text, Field(max_length=1_000)]
    details: Plain | None = None


class Details(Strict):
    """What `update_status` may say beside the status."""

    provider: Annotated[Line, Field(max_length=50)] = ""
    error: Error | None = None
    metadata: Plain = {}
    source: Literal["provider", "webhook", "manual", "system"] = "system"
    sent_at: Aware | None = None
    delivered_at: Aware | None = None
    clicked_at: Aware | None = None
    failed_at: Aware | None = None
    provider_message_id: Annotated[Line, Field(max_length=300)] = ""


class Period(Strict):
    start_date: Aware
    end_date: Aware


_OPTIONS = TypeAdapter(Options)
_NAMED = TypeAdapter(Named)
_WANTED = TypeAdapter(Wanted)
_DETAILS = TypeAdapter(Details)
_PERIOD = TypeAdapter(Period)


def options(given: Mapping[str, Any]) -> Options:
    """Raises Invalid, as all of these."""
    return checked(_OPTIONS, dict(given))


def name(message_id: Any) -> str:
    """What may be looked for."""
    return checked(_NAMED, {"message_id": message_id}).message_id


def wanted(given: Mapping[str, Any], webhooks: Any, defaults: Options, *, channel: str, region: str) -> Wanted:
    """`phone_number` in the one form that is stored: of any channel, whatever it is called."""
    hooks = [_webhook(each, defaults) for each in webhooks] if isinstance(webhooks, list | tuple) else webhooks
    found = checked(_WANTED, {**given, "webhooks": [] if hooks is None else hooks})
    try:
        found.phone_number = address.normal(channel, found.phone_number, region)
    except address.Bad as bad:
        raise Invalid([FieldError("/phone_number", str(bad))]) from None
    return found


def _webhook(given: Any, defaults: Options) -> Any:
    said = asdict(given) if isinstance(given, DeliveryWebhook) else given
    if not isinstance(said, Mapping):
        return said
    known = {name: value for name, value in said.items() if value is not None}
    if isinstance(known.get("events"), tuple):
        known["events"] = list(known["events"])
    return {"timeout": defaults.webhook_timeout, "retries": defaults.webhook_retries, **known}


def check_urls(found: Wanted, policy: AddressPolicy) -> None:
    for place, webhook in enumerate(found.webhooks):
        try:
            check(webhook.url, policy)
        except AddressRefused as refused:
            raise Invalid([FieldError(f"/webhooks/{place}/url", f"cannot be called: {refused}")]) from None


def details(given: Mapping[str, Any]) -> Details:
    return checked(_DETAILS, {name: value for name, value in given.items() if value is not None})


def period(start_date: datetime, end_date: datetime) -> Period:
    found = checked(_PERIOD, {"start_date": start_date, "end_date": end_date})
    if found.end_date < found.start_date:
        raise Invalid([FieldError("/end_date", "must not be before start_date")])
    return found


def status(value: Any) -> MessageStatus:
    try:
        return MessageStatus(value)
    except ValueError:
        known = ", ".join(MessageStatus)
        raise Invalid([FieldError("/status", f"must be one of {known}")]) from None
