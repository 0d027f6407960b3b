"""What a request to register a device may hold. Pure; called by services.devices and the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from tracking import address
from tracking.fields import Json, Line, Text
from tracking.paging import Number, PageQuery
from tracking.schema import Strict, checked

Platform = Literal["ios", "android", "web", "macos", "windows", "amazon", "huawei", "other"]
MAX_TAGS = 100


def _token(value: str) -> str:
    try:
        return address.normal("push", value, "")
    except address.Bad as bad:
        raise PydanticCustomError("token", "{why}", {"why": str(bad)}) from None


def _few(value: dict[str, Any]) -> dict[str, Any]:
    if len(value) > MAX_TAGS:
        raise PydanticCustomError("tags", "must be at most {most} tags", {"most": MAX_TAGS})
    return value


class DeviceRequest(Strict):
    """A device as its application knows it. What is left out stays as it was."""

    platform: Platform
    token: Annotated[str, AfterValidator(_token)]
    hwid: Annotated[Line, Field(max_length=200)] = ""
    user_id: Annotated[Line, Field(max_length=200)] = ""
    language: Annotated[Line, Field(max_length=20)] = ""
    app_version: Annotated[Line, Field(max_length=50)] = ""
    tags: Annotated[Json, AfterValidator(_few)] = {}


class DeviceQuery(PageQuery):
    """Exact values; what is left out does not matter."""

    token: Annotated[Text, Field(min_length=1, max_length=500)] | None = None
    hwid: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    user_id: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    platform: Platform | None = None
    valid: Literal["true", "false"] | None = None
    cursor: Number | None = None


_DEVICE = TypeAdapter(DeviceRequest)


def parse(document: Any) -> dict[str, Any]:
    """The fields that were given. Raises Invalid."""
    request = checked(_DEVICE, document)
    return {name: getattr(request, name) for name in request.model_fields_set}
