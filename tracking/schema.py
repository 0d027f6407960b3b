"""What a request to send may hold: strict models that report every error at once. Called by submit and the API. No ORM.

An error never repeats a value, so that stored answers hold no recipient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tracking import address, fields, words
from tracking.fields import (
    CHANNELS,
    MAX_ITEMS,
    Base64,
    ChannelName,
    Headers,
    Json,
    Line,
    Mail,
    Mailbox,
    Moment,
    Recipients,
    Text,
    Word,
)
from tracking.policy import RetryOverrides

MAX_AHEAD = timedelta(days=30)  # scheduled_at
MAX_ERRORS = 100
MAX_LEGS = 5  # behind the first one
MAX_TTL = 7 * 86_400  # seconds that a leg may have
Document = TypeVar("Document")
Model = TypeVar("Model", bound=BaseModel)


class FieldError(NamedTuple):
    pointer: str  # RFC 6901
    detail: str


class Invalid(Exception):
    """The request cannot be taken; `errors` names each bad field."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(f"{pointer}: {detail}" for pointer, detail in self.errors))


# --- models


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Content(Strict):
    text: Annotated[Text, Field(max_length=1_000_000)] = ""
    html: Annotated[Text, Field(max_length=2_000_000)] = ""
    data: Json = {}


class Attachment(Strict):
    filename: Annotated[Line, Field(min_length=1, max_length=255)]
    content_type: Annotated[str, Field(max_length=127, pattern=r"^[\w.+-]+/[\w.+-]+$")]
    content: Base64
    inline_id: Annotated[Line, Field(max_length=100)] = ""


class Leg(Strict):
    """A way that the message goes on by where the one before fails, or has not delivered within `ttl` seconds."""

    channel: ChannelName
    recipient: Annotated[str, Field(max_length=500)]
    provider: Annotated[Line, Field(min_length=1, max_length=50)] | None = None
    ttl: Annotated[int, Field(ge=1, le=MAX_TTL)] | None = None
    sender: Annotated[Line, Field(max_length=640)] = ""
    subject: Annotated[Line, Field(max_length=998)] = ""
    content: Content = Content()
    template_id: Annotated[Line, Field(max_length=200)] = ""
    variables: Json = {}

    _BODY: ClassVar = ("sender", "subject", "template_id", "variables")

    def body(self) -> dict[str, Any]:
        """As that of a notification."""
        kept = {name: value for name in self._BODY if (value := getattr(self, name))}
        return kept | {name: value for name, value in self.content.__dict__.items() if value}


class Tracking(Strict):
    """What the project tracks can be turned off for a message; nothing can be turned on."""

    opens: bool = True  # the pixel, the app's callback
    clicks: bool = True  # links of e-mails, short links
    unsubscribe: bool = True  # the headers


class Notification(Strict):
    """One message, or one for each of `recipients`. The recipients' form is checked in `parse`."""

    channel: ChannelName
    recipient: Annotated[str, Field(max_length=500)] | None = None
    recipients: Recipients | None = None
    sender: Annotated[Line, Field(max_length=640)] = ""
    reply_to: Mailbox | None = None
    cc: Annotated[list[Mail], Field(max_length=50)] = []
    bcc: Annotated[list[Mail], Field(max_length=50)] = []
    headers: Headers = {}
    attachments: Annotated[list[Attachment], Field(max_length=20)] = []
    subject: Annotated[Line, Field(max_length=998)] = ""
    content: Content = Content()
    template_id: Annotated[Line, Field(max_length=200)] = ""
    variables: Json = {}
    external_id: Annotated[Line, Field(max_length=200)] = ""
    metadata: Json = {}
    category: Annotated[Line, Field(max_length=100)] = ""
    purpose: Annotated[Line, Field(max_length=100)] = ""  # whose consent is asked before it is sent
    tracking: Tracking | None = None
    tags: Annotated[list[Word], Field(max_length=20)] = []
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    scheduled_at: Moment | None = None
    expires_at: Moment | None = None
    provider: Annotated[Line, Field(min_length=1, max_length=50)] | None = None
    provider_message_id: Annotated[Line, Field(min_length=1, max_length=300)] | None = None
    retry: RetryOverrides | None = None
    fallback: Annotated[list[Leg], Field(max_length=MAX_LEGS)] = []

    EMAIL_ONLY: ClassVar = ("reply_to", "cc", "bcc", "headers", "attachments")
    _BODY: ClassVar = (
        *("sender", "reply_to", "cc", "bcc", "headers", "subject", "template_id", "variables"),
        *("metadata", "category", "tags", "purpose"),
    )

    @property
    def addresses(self) -> list[str]:
        return self.recipients if self.recipients is not None else [self.recipient or ""]

    @property
    def followed(self) -> bool:
        """Sent elsewhere: only its receipts are followed."""
        return self.provider_message_id is not None

    def body(self) -> dict[str, Any]:
        """What Content keeps: the fields that are only needed to send or show it, without the empty ones."""
        kept = {name: value for name in self._BODY if (value := getattr(self, name))}
        kept |= {name: value for name, value in self.content.__dict__.items() if value}
        if self.tracking:
            kept["tracking"] = self.tracking.model_dump()
        if self.attachments:
            kept["attachments"] = [attachment.model_dump() for attachment in self.attachments]
        if self.fallback:
            kept["fallback"] = [leg.body() for leg in self.fallback]
        return kept


class BulkStatus(Strict):
    notification_ids: Annotated[
        list[Annotated[Text, Field(min_length=1, max_length=300)]], Field(min_length=1, max_length=MAX_ITEMS)
    ]


_NOTIFICATION = TypeAdapter(Notification)
_BULK_STATUS = TypeAdapter(BulkStatus)


def parse(document: Any, *, region: str, now: datetime, kept: timedelta, single: bool = False) -> Notification:
    """Check a whole request. `region`: of local phone numbers; `kept`: how long content stays. Raises Invalid."""
    try:
        request = _NOTIFICATION.validate_python(document)
    except ValidationError as error:
        raise Invalid([*_errors(error), *_recipient_errors(document, region)][:MAX_ERRORS]) from None
    errors = [*_cross_errors(request, now, kept, single=single), *_normalise(request, region)]
    if errors:
        raise Invalid(errors[:MAX_ERRORS])
    return request


def envelope(document: Any) -> list[Any]:
    """The items of a batch, each still to be parsed."""
    if not isinstance(document, dict):
        raise Invalid([FieldError("", "must be an object")])
    errors = [FieldError(_pointer((name,)), "is not a known field") for name in document if name != "notifications"]
    items = document.get("notifications")
    if not isinstance(items, list) or not items:
        errors.append(FieldError("/notifications", "must be a list of at least one notification"))
    elif len(items) > MAX_ITEMS:
        errors.append(FieldError("/notifications", f"must hold at most {MAX_ITEMS:,} notifications"))
    if errors:
        raise Invalid(errors[:MAX_ERRORS])
    return list(items or ())


def bulk_status(document: Any) -> list[str]:
    return checked(_BULK_STATUS, document).notification_ids


def checked(kind: TypeAdapter[Document], document: Any) -> Document:
    """The document as a model of ours. Raises Invalid."""
    try:
        return kind.validate_python(document)
    except ValidationError as error:
        raise Invalid(_errors(error)) from None


class BadQuery(Exception):
    """Parameters that are unknown or cannot be read: name → what is wrong."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = errors


def repeated(given: Iterable[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """What is wrong with parameters that come several times, of which all but the last would be ignored."""
    return {name: "may be given only once" for name, values in given if len(values) > 1}


def query(kind: type[Model], given: Mapping[str, str]) -> Model:
    """The parameters of an address as a model of ours. Raises BadQuery."""
    try:
        return kind.model_validate_strings(dict(given))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise BadQuery({str(item["loc"][0]): words.of(item, parameter=True) for item in found}) from None


# --- what one field alone cannot tell


def _cross_errors(request: Notification, now: datetime, kept: timedelta, *, single: bool) -> Iterable[FieldError]:
    if (request.recipient is None) == (request.recipients is None):
        yield FieldError("/recipient", "exactly one of recipient and recipients is needed")
    elif single and request.recipients is not None:
        yield FieldError("/recipients", "is not possible inside a batch: give each its own item")
    if request.channel != "email":
        for name in request.EMAIL_ONLY:
            if getattr(request, name):
                yield FieldError(f"/{name}", "is only possible for e-mail")
    if request.followed:
        yield from _followed_errors(request)
    elif not (request.content.text or request.content.html or request.content.data or request.template_id):
        yield FieldError("/content", "content or template_id is needed")
    yield from _time_errors(request, now, kept)
    yield from _fallback_errors(request)


def _fallback_errors(request: Notification) -> Iterable[FieldError]:
    if request.fallback and request.recipients is not None:
        yield FieldError("/fallback", "is only possible with one recipient")
    for index, leg in enumerate(request.fallback):
        if not (leg.body().keys() & {"text", "html", "data", "template_id"}):
            yield FieldError(f"/fallback/{index}/content", "content or template_id is needed")


def _followed_errors(request: Notification) -> Iterable[FieldError]:
    if request.provider is None:
        yield FieldError("/provider", "is needed with provider_message_id")
    if request.recipients is not None:
        yield FieldError("/recipients", "a message sent elsewhere has one recipient")
    for name in ("scheduled_at", "expires_at", "retry", "fallback"):
        if getattr(request, name):
            yield FieldError(f"/{name}", "is not possible with provider_message_id: the message is sent already")


def _time_errors(request: Notification, now: datetime, kept: timedelta) -> Iterable[FieldError]:
    scheduled, expires = request.scheduled_at, request.expires_at
    if scheduled and scheduled > now + min(MAX_AHEAD, kept):
        yield FieldError("/scheduled_at", f"must be at most {min(MAX_AHEAD, kept).days} days ahead")
    if expires and expires <= max(now, scheduled or now):
        yield FieldError("/expires_at", "must be in the future, and after scheduled_at")


def _normalise(request: Notification, region: str) -> Iterable[FieldError]:
    """Bring recipients and the sender into the one form that is stored."""
    if request.recipients is not None:
        request.recipients, errors = _normal(request.channel, request.recipients, region)
        yield from (FieldError(f"/recipients/{index}", text) for index, text in errors)
    elif request.recipient is not None:
        (request.recipient, *_), errors = _normal(request.channel, [request.recipient], region)
        yield from (FieldError("/recipient", text) for _, text in errors)
    for index, leg in enumerate(request.fallback):
        (leg.recipient, *_), errors = _normal(leg.channel, [leg.recipient], region)
        yield from (FieldError(f"/fallback/{index}/recipient", text) for _, text in errors)
    senders: list[tuple[str, Notification | Leg]] = [("", request)]
    senders += [(f"/fallback/{index}", leg) for index, leg in enumerate(request.fallback)]
    for pointer, each in senders:
        if each.sender and each.channel == "email":
            try:
                each.sender = address.mailbox(each.sender)
            except address.Bad as bad:
                yield FieldError(f"{pointer}/sender", str(bad))


def _normal(channel: str, values: Sequence[str], region: str) -> tuple[list[str], list[tuple[int, str]]]:
    """The values, normal where they are right, and (index, what is wrong) of the others."""
    found, errors = [], []
    for index, value in enumerate(values):
        try:
            found.append(address.normal(channel, value, region))
        except address.Bad as bad:
            found.append(value)
            errors.append((index, str(bad)))
    return found, errors


def _recipient_errors(document: Any, region: str) -> Iterable[FieldError]:
    """What is wrong with the recipients of a request that has other errors too: all are named at once."""
    if not isinstance(document, dict) or document.get("channel") not in CHANNELS:
        return
    one, several = document.get("recipient"), document.get("recipients")
    if isinstance(one, str) and len(one) <= 500:
        yield from (FieldError("/recipient", text) for _, text in _normal(document["channel"], [one], region)[1])
    elif isinstance(several, list) and len(several) <= MAX_ITEMS:
        texts = [value if isinstance(value, str) else None for value in several]
        known = [(index, text) for index, text in enumerate(texts) if text is not None and len(text) <= 500]
        for place, text in _normal(document["channel"], [text for _, text in known], region)[1]:
            yield FieldError(f"/recipients/{known[place][0]}", text)


# --- pydantic's errors into ours

_NO_FIELDS = {"[key]", *fields.FORMS}  # steps that pydantic adds


def _errors(error: ValidationError) -> list[FieldError]:
    found = error.errors(include_url=False, include_input=False)
    return [FieldError(_pointer(item["loc"]), words.of(item)) for item in found[:MAX_ERRORS]]


def _pointer(loc: Iterable[int | str]) -> str:
    # a field's name is the caller's: shortened, and without the NUL that could not be stored
    steps = (
        str(step).replace("\x00", "\ufffd").replace("~", "~0").replace("/", "~1")[:100]
        for step in loc
        if step not in _NO_FIELDS
    )
    return "".join(f"/{step}" for step in steps)
