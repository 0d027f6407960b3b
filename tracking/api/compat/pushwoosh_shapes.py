"""What Pushwoosh's requests and answers hold, for the OpenAPI document: an envelope around each method's own. The
answers themselves are made by services.pushwoosh and services.push_log, and tests hold them against these."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from tracking import pushwoosh_schema as schema
from tracking.api.describe import Answer

# --- requests


class PushwooshCreateMessage(BaseModel):
    request: schema.CreateMessage


class PushwooshGetTrackingLog(BaseModel):
    request: schema.TrackingLog


class PushwooshGetResults(BaseModel):
    request: schema.Results


class PushwooshRegisterDevice(BaseModel):
    request: schema.RegisterDevice


class PushwooshUnregisterDevice(BaseModel):
    request: schema.UnregisterDevice


# --- answers


class PushwooshEnvelope(Answer):
    status_code: Annotated[int, Field(description="200 done, 202 not ready, 210 wrong argument, 403 not allowed")]
    status_message: str


class PushwooshDone(PushwooshEnvelope):
    response: None


class PushwooshRefusal(PushwooshEnvelope):
    """What HTTP itself refuses."""

    response: None


class PushwooshMessages(Answer):
    Messages: Annotated[list[str], Field(description="CODE_NOT_AVAILABLE for each notification: it goes to devices")]
    TrackingCodes: Annotated[list[str], Field(description="one for each device, in their order")]
    UnknownDevices: Annotated[dict[str, list[str]], Field(description="those that nothing was sent to")] = {}
    UnknownUsers: Annotated[list[str], Field(description="those without a valid device")] = []


class PushwooshMessagesTaken(PushwooshEnvelope):
    response: PushwooshMessages | None


class PushwooshRequestId(Answer):
    request_id: str


class PushwooshLogAsked(PushwooshEnvelope):
    response: PushwooshRequestId | None


class PushwooshFileName(Answer):
    fileName: Annotated[
        str, Field(description="the address of the ZIP; it needs no key", json_schema_extra={"format": "uri"})
    ]


class PushwooshResults(PushwooshEnvelope):
    response: PushwooshFileName | None
