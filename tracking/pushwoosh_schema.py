"""What requests of Pushwoosh's clients hold, for the methods that are answered here. Pure; called by its services.

Its clients send many fields that only one platform knows. What has no name here is kept with the message as it came.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Tag, TypeAdapter, WithJsonSchema
from pydantic_core import PydanticCustomError

from tracking.fields import OTHER_FORM, TEXT_FORM, Json, Line, Text, by_form
from tracking.schema import FieldError, Invalid, Model, checked

MAX_DEVICES = 1_000  # of one notification, and so the messages that it becomes
MAX_BYTES = 16 * 1024  # of all that is pushed; the push services take 4 KiB
NOW = "now"
# device_type → platform
PLATFORMS = {
    **{1: "ios", 3: "android", 5: "windows", 7: "macos", 8: "windows", 9: "amazon"},
    **{10: "web", 11: "web", 12: "web", 17: "huawei", 0: "other"},
}
_SEND_DATE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?\Z")
_DAY = re.compile(r"^\d{4}-\d\d-\d\d\Z")


def _send_date(value: str) -> str:
    if value != NOW and not _SEND_DATE.match(value):
        raise PydanticCustomError("send_date", 'must be "now" or YYYY-MM-DD HH:mm')
    return value


def _zone(value: str | None) -> ZoneInfo | None:
    if value is None:
        return None
    try:
        return ZoneInfo(value)
    except (LookupError, ValueError, OSError, TypeError):  # of a name that is none, that is a path, a folder's, no text
        raise PydanticCustomError("timezone", "is not a time zone such as Europe/Berlin") from None


def _day(value: Any) -> date:
    if isinstance(value, str) and _DAY.match(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError("day", "must be a date, YYYY-MM-DD")


def _data(value: Any) -> Any:
    """An object, or its JSON as a text: both are documented."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise PydanticCustomError("data", "must be an object or its JSON") from None


Day = Annotated[date, BeforeValidator(_day)]
Name = Annotated[Text, Field(min_length=1, max_length=500)]
Names = Annotated[list[Name], Field(max_length=MAX_DEVICES)]
ByLanguage = Annotated[dict[Annotated[Line, Field(max_length=20)], Text], Field(min_length=1, max_length=200)]
SendDate = Annotated[
    str, AfterValidator(_send_date), Field(description="`now`, or YYYY-MM-DD HH:mm in UTC or in the timezone")
]
Zone = Annotated[
    Any, BeforeValidator(_zone), WithJsonSchema({"type": ["string", "null"], "examples": ["Europe/Berlin"]})
]
Data = Annotated[
    Json,
    BeforeValidator(_data),
    WithJsonSchema({"type": ["object", "string"], "description": "an object, or its JSON"}),
]
Refused = Annotated[Any, Field(description="refused: name devices or users")]
Contents = Annotated[Annotated[Text, Tag(TEXT_FORM)] | Annotated[ByLanguage, Tag(OTHER_FORM)], by_form]


class Request(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Pushed(Request):
    """One of a request's notifications."""

    model_config = ConfigDict(extra="allow")

    content: Contents = ""
    send_date: SendDate = NOW
    timezone: Zone = None
    devices: Names | None = None
    users: Names | None = None
    data: Data = {}
    link: Annotated[Line, Field(max_length=2_000)] = ""
    title: Annotated[Line, Field(max_length=500)] = ""
    transactionId: Annotated[Line, Field(min_length=1, max_length=200)] | None = None  # noqa: N815
    filter: Refused = None
    conditions: Refused = None

    def due(self) -> datetime | None:
        """When it is to be sent; None: at once. Raises ValueError."""
        if self.send_date == NOW:
            return None
        return datetime.fromisoformat(self.send_date).replace(tzinfo=self.timezone or UTC).astimezone(UTC)

    def text_for(self, language: str) -> str:
        """In the device's language, else in the default one, else in the first."""
        if isinstance(self.content, str):
            return self.content
        for wanted in (language, language.partition("-")[0], "default", "en"):
            if wanted in self.content:
                return self.content[wanted]
        return next(iter(self.content.values()))

    @property
    def texts(self) -> list[str]:
        return [self.content] if isinstance(self.content, str) else list(self.content.values())

    @property
    def extras(self) -> dict[str, Any]:
        """What has no name here, such as ios_badges."""
        return dict(self.model_extra or {})


class CreateMessage(Request):
    auth: str
    application: Name | None = None
    applications_group: Any = None
    notifications: Annotated[list[Pushed], Field(min_length=1, max_length=100)]


class TrackingLog(Request):
    auth: str
    date: Day | None = None


class Results(Request):
    auth: str
    request_id: Name


class RegisterDevice(Request):
    auth: str | None = None
    application: Name
    hwid: Annotated[Line, Field(min_length=1, max_length=200)]
    device_type: Annotated[int, Field(description="1 iOS, 3 Android, 7 macOS, 10 to 12 web, 17 Huawei, …")]
    push_token: Name
    language: Annotated[Line, Field(max_length=20)] = ""
    userId: Annotated[Line, Field(max_length=200)] = ""  # noqa: N815


class UnregisterDevice(Request):
    auth: str | None = None
    application: Name
    hwid: Annotated[Line, Field(min_length=1, max_length=200)]


def parse(kind: TypeAdapter[Model], document: Any) -> Model:
    """The inside of {"request": …}. Raises Invalid."""
    if not isinstance(document, dict) or not isinstance(document.get("request"), dict):
        raise Invalid([FieldError("/request", "must be an object")])
    return checked(kind, document["request"])


def check(request: CreateMessage) -> None:
    """What one field alone cannot tell. Raises Invalid."""
    errors = []
    if request.applications_group is not None or request.application is None:
        errors.append(FieldError("/application", "is needed: groups of applications are not known here"))
    for place, pushed in enumerate(request.notifications):
        errors += [FieldError(f"/notifications/{place}/{name}", text) for name, text in _wrong(pushed)]
    if errors:
        raise Invalid(errors)


def _wrong(pushed: Pushed) -> list[tuple[str, str]]:
    found = []
    if pushed.filter is not None or pushed.conditions is not None:
        found.append(("filter", "is not possible here: name devices or users"))
    elif (pushed.devices is None) == (pushed.users is None):
        found.append(("devices", "either devices or users are needed"))
    if not pushed.data and not all(pushed.texts):
        found.append(("content", "is needed, in each language that is named"))
    try:
        pushed.due()
    except (ValueError, OverflowError):
        found.append(("send_date", "is not a possible date and time"))
    try:
        Json_.validate_python(pushed.extras)
        if len(orjson.dumps([pushed.content, pushed.data, pushed.link, pushed.title, pushed.extras])) > MAX_BYTES:
            found.append(("content", f"is too large: all that is pushed may have {MAX_BYTES // 1024} KiB"))
    except ValueError:
        found.append(("", "holds a value that cannot be kept"))
    return found


Json_: TypeAdapter[dict[str, Any]] = TypeAdapter(Json)
CREATE_MESSAGE = TypeAdapter(CreateMessage)
TRACKING_LOG = TypeAdapter(TrackingLog)
RESULTS = TypeAdapter(Results)
REGISTER = TypeAdapter(RegisterDevice)
UNREGISTER = TypeAdapter(UnregisterDevice)
