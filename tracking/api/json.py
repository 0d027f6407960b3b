"""JSON in and out of the API, by orjson. Used by its views; DRF finds Renderer and Parser here by the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from django.http.request import UnreadablePostError
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from tracking import body
from tracking.api.problems import Problem

MEDIA_TYPE = "application/json"
MAX_DEPTH = 200  # what is parsed must be fit to be encoded again, for its digest


def dumps(data: Any) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_UTC_Z)


def answer(data: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(dumps(data), status=status, content_type=MEDIA_TYPE)


def document(request: Request) -> Any:
    """The request's JSON. Raises Problem (400, 413, 415).

    Not `request.data`: that takes a chunked body for an empty one, and an empty one for no error.
    """
    kind = request.content_type.partition(";")[0].strip().lower() if request.content_type else ""
    if kind != MEDIA_TYPE:
        raise UnsupportedMediaType(kind or "(none)", detail="The body must be application/json.")
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(encoding, detail="The body must not be compressed.")
    return loads(raw(request))


def loads(raw: bytes) -> Any:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "malformed-json", f"The body is not JSON: {error}") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _too_deep(found):
        raise Problem(400, "malformed-json", f"The body is nested deeper than {MAX_DEPTH} levels.")
    return found


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: Any) -> Any:
    if isinstance(node, dict):
        return (child for child in node.values() if isinstance(child, dict | list))
    return (child for child in node if isinstance(child, dict | list))


def raw(request: Request) -> bytes:
    """The body as it came. Raises Problem (400, 413)."""
    try:
        return body.read(request._request)
    except body.LengthWrong:
        raise Problem(400, "malformed", "The Content-Length is not a number.") from None
    except RequestDataTooBig:
        raise _too_large(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) from None
    except (UnreadablePostError, OSError):
        raise Problem(400, "malformed-json", "The body ended early.") from None


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", f"The body is larger than {limit // 1024 // 1024} MiB.")


class Parser(BaseParser):
    media_type = MEDIA_TYPE

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return loads(stream.read())


class Renderer(BaseRenderer):
    media_type = MEDIA_TYPE
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return dumps(data)


class OneFormat(BaseContentNegotiation):
    """There is one format in and one out; `Accept` is not asked."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type
