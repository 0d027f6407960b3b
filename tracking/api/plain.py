"""The addresses that plain Django views answer, described for the OpenAPI document: a class for each stands in for the
view of that name. Read by openapi; the paths are those of the URL patterns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, RootModel
from rest_framework.views import APIView

from tracking.api import interfaces, problems
from tracking.api.describe import FORM, HTML, JSON, PLAIN, Answer, File, Interface, Operation, Text
from tracking.api.v1.shapes import Problem

GIF, ZIP = "image/gif", "application/zip"


class OneClick(BaseModel):
    """RFC 8058."""

    one_click: Literal["One-Click"] = Field(alias="List-Unsubscribe")


class ProvidersRequest(RootModel[dict[str, Any] | list[Any]]):
    """Whatever the provider sends; it is stored as it came and read later."""


class Alive(Answer):
    status: Literal["ok"]


class Ready(Answer):
    """What each check found: `ok`, or what is wrong."""

    status: Literal["ready", "not ready"]
    checks: dict[Literal["database", "migrations", "partitions", "workers"], str]


class Document(Answer):
    """OpenAPI 3.1."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]
    tags: list[dict[str, str]]


class StandIn(APIView):
    """What is described of a view that is none of Django REST framework's. Asked by nobody."""

    authentication_classes = ()
    interface: ClassVar[Interface]
    describes: ClassVar[dict[str, Operation]]
    get = post = APIView.http_method_not_allowed


class Hook(StandIn):
    """With 200 the request is stored. What it holds is its provider's, and so is the signature that proves it."""

    interface = interfaces.RECEIPTS
    describes = {
        "POST": Operation(
            "A provider tells what became of messages",
            Text,
            media_type=PLAIN,
            body=ProvidersRequest,
            takes=(JSON, FORM),
            example={"event": "delivered", "message_id": "provider-7"},
            also={503: None, (400, problems.MEDIA_TYPE): Problem},
            errors=(400, 401, 404, 413),
        )
    }


class Export(StandIn):
    """404 for an address that was never one, or whose file is gone; 410 for one whose time is over."""

    interface = interfaces.DOWNLOADS
    describes = {
        "GET": Operation(
            "The file of an export",
            File,
            media_type="text/csv",
            also={(200, "application/jsonl"): File, (200, "application/gzip"): File, 503: None},
            errors=(404, 410),
        )
    }


class TrackingLog(StandIn):
    """No key is asked for: the address cannot be guessed, and ends with the log."""

    interface = replace(interfaces.DOWNLOADS, tag=interfaces.PUSHWOOSH.tag)
    describes = {"GET": Operation("The file of a tracking log", File, media_type=ZIP, also={503: None}, errors=(404,))}


_GONE: dict[int | tuple[int, str], type[BaseModel] | None] = {(404, HTML): Text, (410, HTML): Text, 503: None}


class Pixel(StandIn):
    """It is shown even where the open could not be stored; the status says so."""

    interface = interfaces.ENGAGEMENT
    describes = {
        "GET": Operation(
            "The pixel that tells of an open", File, media_type=GIF, also={(404, GIF): File, (503, GIF): File}
        )
    }


class Link(StandIn):
    """Leads to the address that stood in the message, and nowhere else."""

    interface = interfaces.ENGAGEMENT
    describes = {"GET": Operation("A tracked link", None, 302, also=_GONE)}


class Unsubscribe(StandIn):
    """GET changes nothing."""

    interface = interfaces.ENGAGEMENT
    describes = {
        "GET": Operation("The page that asks", Text, media_type=HTML, also=_GONE),
        "POST": Operation(
            "Unsubscribe by one click (RFC 8058)",
            Text,
            media_type=HTML,
            body=OneClick,
            takes=(FORM,),
            example={"List-Unsubscribe": "One-Click"},
            also={(400, HTML): Text, **_GONE},
        ),
    }


class Pushed(StandIn):
    """May be called from any origin; no cookie is needed or given."""

    interface = interfaces.ENGAGEMENT
    describes = {
        "POST": Operation(
            "An app tells what became of a push message",
            None,
            204,
            choices={"event": ("received", "opened")},
            also={404: None, 503: None},
        )
    }


class Healthz(StandIn):
    interface = interfaces.HEALTH
    describes = {"GET": Operation("This process answers", Alive)}


class Readyz(StandIn):
    """503 where one of the checks fails."""

    interface = interfaces.HEALTH
    describes = {"GET": Operation("The installation can take messages and send them", Ready, also={503: Ready})}


class Schema(StandIn):
    interface = interfaces.DOCUMENTATION
    describes = {"GET": Operation("This document", Document)}


class Page(StandIn):
    interface = interfaces.DOCUMENTATION
    describes = {"GET": Operation("The page that shows it", Text, media_type=HTML)}


class PageFile(StandIn):
    interface = interfaces.DOCUMENTATION
    describes = {
        "GET": Operation("A file of the page", Text, media_type="text/javascript", also={(200, "text/css"): Text})
    }


# By the names of the URL patterns.
VIEWS: dict[str, type[StandIn]] = {
    "hook": Hook,
    "export-download": Export,
    "pushwoosh-file": TrackingLog,
    "visit-opened": Pixel,
    "visit-clicked": Link,
    "visit-short": Link,
    "visit-unsubscribe": Unsubscribe,
    "visit-pushed": Pushed,
    "healthz": Healthz,
    "readyz": Readyz,
    "api-schema": Schema,
    "api-docs": Page,
    "api-docs-file": PageFile,
}
