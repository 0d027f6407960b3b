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
from urllib.parse import urlencode

import orjson
import pytest
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from playwright.sync_api import expect

from tests.builders import make_account, make_key, make_project
from tests.e2e import browsing
from tests.seeds.live import Live, serve
from tests.tracking.things import things_of
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


def views(patterns: Iterable[Any], prefix: str = "/v1/") -> Iterator[tuple[str, Any]]:
    for each in patterns:
        path = prefix + re.sub("<[a-z]+:([a-z_]+)>", r"{\1}", str(each.pattern))
        if hasattr(each, "url_patterns"):
            yield from views(each.url_patterns, path)
        elif getattr(getattr(each.callback, "cls", None), "schema", None) is not None:
            yield path, each.callback.cls


def test_every_view_below_v1_is_in_it(document: Any) -> None:
    assert set(document["paths"]) == {path for path, _ in views(urls.urlpatterns)}


def test_no_two_models_share_a_name() -> None:
    """The second one would silently be described as the first."""
    known: dict[str, Any] = {}
    for path, view in views(urls.urlpatterns):
        for operation in view.describes.values():
            models = [(operation.body, "validation")]
            models += [(answer, "serialization") for answer in (operation.answer, *operation.also.values())]
            for model, mode in models:
                schema = model.model_json_schema(mode=mode) if model else {}
                parts = schema.pop("$defs", {}) | ({model.__name__: schema} if model else {})
                for name, part in parts.items():
                    assert known.setdefault(name, part) == part, f"{path}: {name}"


def test_every_operation_says_what_it_needs_and_answers(document: Any) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"] and "Needs the scope `" in operation["description"], where
        assert operation["security"] == [{"bearer": []}, {"header": []}], where
        answers = operation["responses"]
        good = [status for status in answers if status < "300"]
        assert good, where
        for status in good:
            assert "X-RateLimit-Remaining" in answers[status]["headers"], where
            for found in answers[status].get("content", {}).values():
                assert found["schema"].get("$ref"), f"{where}: what does it answer?"
            assert ("content" in answers[status]) is (status != "204"), where
        for status in ("401", "403", "429"):
            assert list(answers[status]["content"]) == ["application/problem+json"], where
        assert ("307" in answers) is (path in WAITING and method == "get"), where


WAITING = ("/v1/stream", "/v1/notifications/{notification}")


def test_a_parameter_stands_alone_and_several_values_are_separated_by_commas(document: Any) -> None:
    found = {each["name"]: each for each in document["paths"]["/v1/stream"]["get"]["parameters"]}
    assert found["status"]["schema"]["items"]["enum"][0] == "pending" and found["status"]["explode"] is False
    assert "$ref" not in str([operation.get("parameters") for _, _, operation in operations(document)])


# --- its examples, and what is answered


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, settings: Any) -> None:
    settings.EXPORT_DIR = tmp_path


@pytest.fixture
def project() -> Project:
    project = make_project()
    for channel in ("email", "sms", "push", "chat"):
        make_account(project, channel=channel)
    return project


@pytest.mark.django_db
@pytest.mark.parametrize("prefix", ["", "/api"])
def test_every_operation_takes_its_example_and_answers_what_is_said(
    document: Any, project: Project, prefix: str
) -> None:
    """All that an answer holds is described, and all that is described is there."""
    client = Client(headers={"Authorization": f"Bearer {make_key(project)}"})
    parts = closed(document["components"])
    wrong = []
    for path, method, operation in operations(document):
        known = things_of(project, path)
        needed = {name: known[name] for name in needed_by(operation)}
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        (example,) = body["examples"].values() if body else ({},)
        sent = orjson.dumps(example["value"]) if body else b""
        url = f"{prefix}{path.format(**known)}?{urlencode(needed)}"
        answer = client.generic(method.upper(), url, sent, "application/json")
        wrong += [f"{method} {path}: {fault}" for fault in faults(answer, operation, parts)]
    assert wrong == []


def faults(answer: Any, operation: Any, parts: Any) -> Iterator[str]:
    """What of an answer that should be a good one is otherwise than the document says."""
    described = operation["responses"].get(str(answer.status_code))
    if described is None or answer.status_code >= 400:
        yield f"{answer.status_code} {answer.content!r}"
        return
    yield from sorted(LIMITS - set(answer.headers))
    schema = described.get("content", {}).get("application/json", {}).get("schema")
    if (schema is None) is not (answer.content == b""):
        yield f"has the body {answer.content!r}"
    elif schema is not None:
        check = Draft202012Validator({**schema, "components": parts})
        yield from (f"{error.json_path}: {error.message}" for error in check.iter_errors(answer.json()))


def needed_by(operation: Any) -> list[str]:
    """The parameters without which it is not taken."""
    wanted = (each for each in operation.get("parameters", ()) if each["in"] == "query" and each.get("required"))
    return [each["name"] for each in wanted]


LIMITS = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


def closed(node: Any) -> Any:
    """The same schemas, which take no field beyond those that they name."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    more = {"additionalProperties": False} if isinstance(node.get("properties"), dict) else {}
    return {name: closed(value) for name, value in node.items()} | more


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
    """It follows no redirection to another port: the stream process is not asked, and nothing waits."""
    known = tmp_path / "schema.json"
    known.write_bytes(orjson.dumps(_with_ids(document, project)))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(known), "--url", live.url),
        *("--header", f"Authorization:Bearer {make_key(project)}", "--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--workers", "2"),
        *("--suppress-health-check", "all", "--no-color", "--continue-on-failure"),
        *("--generation-deterministic", "--request-timeout", "20", "--warnings", "off"),
    ]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


def _with_ids(document: Any, project: Project) -> Any:
    """With an example for each part of a path, so that not every answer is 404. Each operation has things of its own:
    what one of them deletes is still there for the others."""
    copy = orjson.loads(orjson.dumps(document))
    for path, _, operation in operations(copy):
        known = things_of(project, path)
        needed = needed_by(operation)
        for parameter in operation.get("parameters", ()):
            if (parameter["in"] == "path" or parameter["name"] in needed) and parameter["name"] in known:
                parameter["example"] = str(known[parameter["name"]])
    return copy
