"""The OpenAPI document: complete, valid, its examples are taken, its page works under the policy, and the server does
what it says: schemathesis' own command asks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema
from playwright.sync_api import expect

from tests.builders import make_account, make_endpoint, make_key, make_message, make_project
from tests.e2e import browsing
from tests.seeds.live import Live, serve
from tests.tracking.lives import fail
from tracking.api import openapi
from tracking.api.v1 import urls
from tracking.models import Project

METHODS = ("get", "post", "patch", "put", "delete")
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "ignored_auth", "unsupported_method"),
)


@pytest.fixture(scope="module")
def document() -> Any:
    return orjson.loads(openapi.document())


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_it_is_valid_openapi_31_without_a_warning(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    validate_schema(document)
    assert not GENERATOR_STATS


def views(patterns: Iterable[Any], prefix: str = "/v1/") -> Iterator[str]:
    for each in patterns:
        path = prefix + re.sub("<[a-z]+:([a-z_]+)>", r"{\1}", str(each.pattern))
        if hasattr(each, "url_patterns"):
            yield from views(each.url_patterns, path)
        elif getattr(getattr(each.callback, "cls", None), "schema", None) is not None:
            yield path


def test_every_view_below_v1_is_in_it(document: Any) -> None:
    assert set(document["paths"]) == set(views(urls.urlpatterns))


def test_every_operation_says_what_it_needs_and_answers(document: Any) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"] and "Needs the scope `" in operation["description"], where
        assert operation["security"] == [{"bearer": []}, {"header": []}], where
        good = [status for status in operation["responses"] if status < "300"]
        assert len(good) == 1, where
        if good != ["204"]:
            schema = operation["responses"][good[0]]["content"]["application/json"]["schema"]
            assert schema.get("$ref") or schema.get("properties"), f"{where}: what does it answer?"
        for status in ("401", "403", "429"):
            assert list(operation["responses"][status]["content"]) == ["application/problem+json"], where
        assert "X-RateLimit-Remaining" in operation["responses"][good[0]]["headers"], where


# --- its examples


@pytest.fixture
def project() -> Project:
    project = make_project()
    for channel in ("email", "sms", "push", "chat"):
        make_account(project, channel=channel)
    return project


def ids_of(project: Project, path: str) -> dict[str, Any]:
    """Things of the project that the parts of a path may name."""
    found: dict[str, Any] = {}
    if "{webhook}" in path:
        found["webhook"] = make_endpoint(project).pk
    if "{notification}" in path:
        found["notification"] = make_message(project)
    return found


@pytest.mark.django_db
def test_every_example_is_taken(document: Any, project: Project) -> None:
    client = Client(headers={"Authorization": f"Bearer {make_key(project)}"})
    sent = 0
    for path, method, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in body.get("examples", {}).values():
            url = path.format(**ids_of(project, path))
            answer = getattr(client, method)(url, example["value"], content_type="application/json")
            assert str(answer.status_code) in operation["responses"] and answer.status_code < 300, (url, answer.content)
            sent += 1
        assert not body or body.get("examples"), f"{method} {path} has a body and no example"
    assert sent >= 7


# --- its page


def test_it_is_served_to_everybody() -> None:
    client = Client()
    assert client.get("/v1/schema").json()["openapi"].startswith("3.1")
    assert client.get("/v1/docs").status_code == 200
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert client.get(f"/v1/docs/{name}").status_code == 200
    for name in ("LICENSE", "..%2F..%2F__init__.py", "swagger-ui.css.map"):
        assert client.get(f"/v1/docs/{name}").status_code == 404
    assert client.post("/v1/schema").status_code == 405


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_the_page_shows_every_operation_under_the_policy(document: Any, tmp_path: Path) -> None:
    browsing.chromium()
    with serve(tmp_path / "log") as live, browsing.launched() as (_, browser):
        page = browser.new_page()
        complaints: list[str] = []
        hosts: set[str] = set()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda asked: hosts.add(asked.url.split("/")[2]))
        page.goto(f"{live.url}/v1/docs")
        expect(page.locator(".opblock")).to_have_count(len(list(operations(document))))
        page.locator("#operations-analytics-getDeliveryMetrics .opblock-summary-control").click()
        expect(page.get_by_text("group_by", exact=True).first).to_be_visible()
        assert complaints == []
        assert {host.split(":")[0] for host in hosts if host} == {"127.0.0.1"}


# --- the server does what it says


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with serve(tmp_path / "log", RATE_LIMIT="0") as server:
        yield server


@pytest.mark.processes
@pytest.mark.timeout(280)
@pytest.mark.django_db(transaction=True)
def test_schemathesis_finds_nothing(live: Live, project: Project, document: Any, tmp_path: Path) -> None:
    failed: UUID = make_message(project)
    fail(failed)
    known = tmp_path / "schema.json"
    known.write_bytes(orjson.dumps(_with_ids(document, {"webhook": make_endpoint(project).pk, "notification": failed})))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(known), "--url", live.url),
        *("--header", f"Authorization:Bearer {make_key(project)}", "--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--workers", "2"),
        *("--suppress-health-check", "all", "--no-color", "--continue-on-failure"),
        *("--generation-deterministic", "--request-timeout", "20", "--warnings", "off"),
    ]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


def _with_ids(document: Any, known: dict[str, Any]) -> Any:
    """With an example for each part of a path, so that not every answer is 404."""
    copy = orjson.loads(orjson.dumps(document))
    for _, _, operation in operations(copy):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path" and parameter["name"] in known:
                parameter["example"] = str(known[parameter["name"]])
    return copy
