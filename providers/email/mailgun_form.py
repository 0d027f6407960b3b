"""Mailgun's webhooks of before 2018: form posts, put into the words of the present JSON. Called by its adapter."""

from __future__ import annotations

import io
from typing import Any

import orjson
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.wsgi import WSGIRequest
from django.http import QueryDict
from django.http.multipartparser import MultiPartParserError

from providers.base import HookRequest, ParseFailed
from providers.email.through_anymail import ECHO


def read(request: HookRequest) -> QueryDict:
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.input": io.BytesIO(request.body),
    }
    try:
        return WSGIRequest(environ).POST
    except (MultiPartParserError, SuspiciousOperation, ValueError, LookupError, OSError) as error:
        raise ParseFailed(f"not a form: {error}") from error


def event(form: QueryDict) -> dict[str, Any]:
    """An old form post in the words of the present JSON. A field may be followed by a user variable of its name, so
    the first value counts, but for the signature's, where it is the last."""
    first = {name: str(values[0]) for name, values in form.lists() if values}
    variables: dict[str, Any] = {ECHO: first.get(ECHO, "")}
    try:
        headers = orjson.loads(first.get("message-headers") or "[]")
        for name, value in headers:
            if name == "X-Mailgun-Variables":
                variables |= orjson.loads(value)
    except (ValueError, TypeError):  # a JSON error is a ValueError
        pass
    code = first.get("code", "")
    return {
        **first,
        "timestamp": form.get("timestamp"),
        "message": {"headers": {"message-id": first.get("Message-Id") or first.get("message-id")}},
        "user-variables": variables,
        "delivery-status": {
            "code": code if code.isdigit() else "",
            "enhanced-code": code if "." in code else "",
            "message": first.get("error") or first.get("notification"),
            "description": first.get("description"),
        },
        "client-info": {"user-agent": first.get("user-agent"), "client-type": first.get("client-type")},
    }
