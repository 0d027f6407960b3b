"""The raw body of a request, chunked ones too. Called by the API and the hooks.

Django takes a request without a Content-Length for an empty one; integrators stream, and what they send must be read.
"""

from __future__ import annotations

from typing import IO

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest

_CHUNK = 64 * 1024


class LengthWrong(Exception):
    """The Content-Length is not a number."""


def read(request: HttpRequest) -> bytes:
    """Raises LengthWrong, RequestDataTooBig (over 10 MiB), UnreadablePostError or OSError (it ended early)."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0
    length = request.META.get("CONTENT_LENGTH") or ""
    if length and not (length.isascii() and length.isdecimal()):
        raise LengthWrong
    if int(length or 0) > limit:
        raise RequestDataTooBig
    if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower() and not length:
        return _chunked(request.META["wsgi.input"], limit)
    return request.body


def _chunked(stream: IO[bytes], limit: int) -> bytes:
    body = bytearray()
    while part := stream.read(_CHUNK):
        body += part
        if len(body) > limit:
            raise RequestDataTooBig
    return bytes(body)
