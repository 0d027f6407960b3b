"""What is answered is what the OpenAPI document says: to its examples, which are all sent, and to what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from django.test import Client

from tests import agreeing
from tests.agreeing import Operation, operations
from tests.builders import make_key
from tests.tracking.things_of_others import filled, headers_of, open_project, things_of
from tracking.models import Project

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def project(tmp_path: Path, settings: Any) -> Project:
    settings.EXPORT_DIR = tmp_path
    return open_project()


@pytest.mark.django_db(transaction=True)
def test_every_operation_takes_its_example_and_answers_what_is_said(project: Project) -> None:
    """All that an answer holds is described, and all that is described is there."""
    asked = [
        (f"{method} {path}", ask(project, path, method, operation), operation)
        for path, method, operation in operations()
    ]
    assert [f"{where}: {fault}" for where, answer, operation in asked for fault in faults(answer, operation)] == []


@pytest.mark.django_db
def test_the_native_ones_do_so_at_their_other_address_too(project: Project) -> None:
    asked = [
        (f"{method} {path}", ask(project, path, method, operation, "/api"), operation)
        for path, method, operation in operations()
        if path.startswith("/v1/") and operation.get("security")
    ]
    assert [f"{where}: {fault}" for where, answer, operation in asked for fault in faults(answer, operation)] == []


def ask(project: Project, path: str, method: str, operation: Operation, prefix: str = "") -> Any:
    known = things_of(project, path)
    needed = {name: known[name] for name in needed_by(operation, known)}
    contents: dict[str, Any] = operation.get("requestBody", {}).get("content", {"application/json": {}})
    kind, body = next(iter(contents)), b""
    for example in contents[kind].get("examples", {}).values():
        value = filled(example["value"], known) if not path.startswith("/v1/") else example["value"]
        body = urlencode(value).encode() if kind == FORM else orjson.dumps(value)
    url = f"{prefix}{path.format(**known)}?{urlencode(needed)}"
    return Client().generic(method.upper(), url, body, kind, headers=headers_of(project, operation, body))


def faults(answer: Any, operation: Operation) -> Iterator[str]:
    """What of an answer that should be a good one is otherwise than the document says."""
    body = b"" if answer.streaming else answer.content
    described = operation["responses"].get(str(answer.status_code))
    if described is None or answer.status_code >= 400:
        yield f"{answer.status_code} {body!r}"
        return
    if "X-RateLimit-Limit" in described.get("headers", ()):
        yield from sorted(LIMITS - set(answer.headers))
    kind = answer.headers.get("Content-Type", "")
    if fault := agreeing.fault_of(operation, answer.status_code, kind, None if answer.streaming else body):
        yield fault


def needed_by(operation: Operation, known: dict[str, Any] | None = None) -> list[str]:
    """The parameters without which it is not taken, and those that ask for things by their ids."""
    wanted = (each for each in operation.get("parameters", ()) if each["in"] == "query")
    return [
        each["name"]
        for each in wanted
        if each.get("required") or each["name"].endswith("[]") and each["name"] in (known or {})
    ]


LIMITS = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "nowhere", 404),
        ("delete", "notifications/nowhere/at/all", 404),
        ("get", "channels/nowhere", 404),
        ("delete", "stream", 405),
        ("get", "devices?page=2", 400),
        ("put", "consents", 415),
        ("get", "erasures/1", 403),
        ("get", "notifications/00000000-0000-7000-8000-000000000000", 404),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/api"])
def test_refusals_say_too_how_much_is_left(project: Project, prefix: str, method: str, path: str, status: int) -> None:
    scopes = ["read"] if status == 403 else None
    client = Client(headers={"Authorization": f"Bearer {make_key(project, scopes)}"})
    answer = getattr(client, method)(f"{prefix}/v1/{path}", content_type="application/json")
    assert answer.status_code == status and answer["Content-Type"] == "application/problem+json", answer.content
    assert set(answer.headers) >= LIMITS
