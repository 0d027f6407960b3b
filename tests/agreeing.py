"""Whether answers are what the OpenAPI document says of their address: a status that is described, of that media type,
with everything that the schema names and nothing else. Every answer to a test's Client is looked at (conftest.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import requests
from django.test import Client
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tracking.api import openapi

Operation = dict[str, Any]
METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
_ALIAS = "/api/v1/"


@cache
def document() -> Any:
    return orjson.loads(openapi.document())


def operations() -> Iterator[tuple[str, str, Operation]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def closed(node: Any) -> Any:
    """The same schemas, which take no field beyond those that they name."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    more = {"additionalProperties": False} if isinstance(node.get("properties"), dict) else {}
    return {name: closed(value) for name, value in node.items()} | more


@cache
def _parts() -> Any:
    return closed(document()["components"])


@cache
def _routes() -> list[tuple[re.Pattern[str], dict[str, Operation]]]:
    """Those that name more of the path themselves first."""
    known = sorted(document()["paths"].items(), key=lambda item: item[0].count("{"))
    return [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), methods) for path, methods in known]


def operation_of(method: str, path: str) -> Operation | None:
    """None: it is not described."""
    for form in (path, path.replace(_ALIAS, "/v1/", 1) if path.startswith(_ALIAS) else path):
        for pattern, methods in _routes():
            if pattern.fullmatch(form):
                return methods.get(method.lower())
    return None


def fault_of(operation: Operation, status: int, media_type: str, body: bytes | None) -> str:
    """What is otherwise than said; empty where all is well. `body`: None where it is not to be read."""
    described = operation["responses"].get(str(status))
    if described is None:
        return f"{status} is not described"
    contents = described.get("content")
    kind = media_type.partition(";")[0].strip()
    if contents is None or body is None:
        return f"has the body {body[:200]!r}" if body and status < 400 else ""
    if kind not in contents:
        return f"{status} is {kind or 'empty'}, and not {', '.join(contents)}"
    if not kind.endswith("json"):
        return ""
    check = Draft202012Validator({**contents[kind]["schema"], "components": _parts()})
    return "; ".join(f"{error.json_path}: {error.message}" for error in check.iter_errors(orjson.loads(body)))[:2_000]


def _asked(method: str, path: str, status: int, media_type: str, body: bytes | None) -> None:
    operation = operation_of(method, path) if status not in (405, 500) else None
    fault = fault_of(operation, status, media_type, body) if operation else ""
    assert not fault, f"{method} {path}: {fault}"


def check(answer: requests.Response) -> requests.Response:
    """The same answer, of a server that runs by itself."""
    path, kind = unquote(urlsplit(answer.request.url or "").path), answer.headers.get("Content-Type", "")
    _asked(answer.request.method or "", path, answer.status_code, kind, answer.content)
    return answer


def watched(ask: Any) -> Any:
    """Client.request, which fails where an answer is otherwise than said."""

    def asked(self: Client, **request: Any) -> Any:
        answer = ask(self, **request)
        method, path = request.get("REQUEST_METHOD", "GET"), request.get("PATH_INFO", "/")
        if method in METHODS and not path.startswith(("/admin", "/static")):
            body = None if answer.streaming else answer.content
            _asked(method, path, answer.status_code, answer.headers.get("Content-Type", ""), body)
        return answer

    return asked
