"""The OpenAPI document: complete and valid, and its page works under the policy. Whether answers are what it says is
shown by test_openapi_answers and test_schemathesis."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema
from playwright.sync_api import expect

from tests import agreeing
from tests.agreeing import METHODS, Operation, operations
from tests.e2e import browsing
from tests.seeds.live import serve
from tests.tracking.things_of_others import open_project, things_of
from tracking.api import interfaces, plain
from tracking.models import Project

FORM = "application/x-www-form-urlencoded"
KEY, BAT, SESSION = [{"bearer": []}, {"header": []}], [{"smsbatKey": []}, {"basic": []}], [{"session": []}]
SECURITY = {"SMSBat": BAT, "social.plus": SESSION}
OPEN = {"Pushwoosh", "Receipts", "Engagement", "Downloads", "Health", "Documentation"}
WAITING = ("/v1/stream", "/v1/notifications/{notification}")


@pytest.fixture
def project(tmp_path: Path, settings: Any) -> Project:
    settings.EXPORT_DIR = tmp_path
    return open_project()


@pytest.fixture(scope="module")
def document() -> Any:
    return agreeing.document()


def natives() -> Iterator[tuple[str, str, Operation]]:
    return (each for each in operations() if not {*each[2]["tags"]} & {*SECURITY, *OPEN})


def test_it_is_valid_openapi_31_without_a_warning(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    validate_schema(document)
    assert not GENERATOR_STATS


# --- it is complete


def addresses(patterns: Iterable[URLPattern | URLResolver], before: str = "/") -> Iterator[tuple[str, Any]]:
    """All but the console, the way to it, what Prometheus asks, and the native API once more."""
    for each in patterns:
        path = before + re.sub("<[a-z]+:([a-z_]+)>", r"{\1}", str(each.pattern))
        if isinstance(each, URLResolver):
            yield from addresses(each.url_patterns, path)
            continue
        again = path.startswith("/api/v1/") and each.callback.__module__.startswith("tracking.api.v1.")
        if not again and path not in ("/", "/metrics") and not path.startswith("/admin/") and "{rest}" not in path:
            yield path, each.callback


def taken(project: Project, path: str, view: Any) -> set[str]:
    if hasattr(view, "cls"):
        return {*view.cls().allowed_methods} & {*METHODS}
    url = path.format(**things_of(project, path))
    return {method for method in METHODS if Client().generic(method, url).status_code != 405}


@pytest.mark.django_db(transaction=True)
def test_every_address_is_in_it_with_every_method(project: Project) -> None:
    offered = {
        (method, path) for path, view in addresses(get_resolver().url_patterns) for method in taken(project, path, view)
    }
    assert {(method.upper(), path) for path, method, _ in operations()} == offered


def declared() -> Iterator[tuple[str, Any]]:
    views = (view.cls for _, view in addresses(get_resolver().url_patterns) if hasattr(view, "cls"))
    for view in chain(views, plain.VIEWS.values()):
        yield from ((view.__name__, operation) for operation in view.describes.values())


def test_every_method_is_declared() -> None:
    for _, view in addresses(get_resolver().url_patterns):
        if hasattr(view, "cls"):
            assert set(view.cls.describes) == {*view.cls().allowed_methods} & {*METHODS}, view.cls


def test_no_two_models_share_a_name() -> None:
    """The second one would silently be described as the first."""
    known: dict[str, Any] = {}
    for where, operation in declared():
        models = [(operation.body, "validation")]
        models += [(answer, "serialization") for answer in (operation.answer, *operation.also.values())]
        for model, mode in models:
            schema = model.model_json_schema(mode=mode) if model else {}
            parts = schema.pop("$defs", {}) | ({model.__name__: schema} if model else {})
            for name, part in parts.items():
                assert known.setdefault(name, part) == part, f"{where}: {name}"


def test_every_operation_has_a_name_a_summary_and_a_good_answer() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    for path, method, operation in operations():
        where, answers = f"{method} {path}", operation["responses"]
        assert operation["summary"], where
        good = [status for status in answers if status < "400"]
        assert good, where
        for status in good:
            for found in answers[status].get("content", {}).values():
                assert found["schema"].get("$ref"), f"{where}: what does it answer?"
            assert ("content" in answers[status]) is (status not in ("204", "302", "307")), where


def test_every_body_has_an_example(document: Any) -> None:
    assert "requestBody" in document["paths"]["/hooks/{token}"]["post"]  # though it may hold anything
    for path, method, operation in operations():
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            assert len(content.get("examples", ())) == 1, f"{method} {path} {kind}"


def test_tags_are_described_and_the_native_ones_come_first(document: Any) -> None:
    known = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert set(known) == {tag for _, _, operation in operations() for tag in operation["tags"]}
    assert all(known.values()) and {*list(known)[-len(SECURITY | dict.fromkeys(OPEN)) :]} == {*SECURITY, *OPEN}
    pages = {page for text in known.values() for page in re.findall(r"docs/[a-z]+\.md", text)}
    assert len(pages) > 10 and all((Path(__file__).parents[2] / page).is_file() for page in pages), pages


def test_every_operation_says_who_may_ask() -> None:
    for path, method, operation in operations():
        (tag,), where = operation["tags"], f"{method} {path}"
        wanted = None if tag in OPEN else SECURITY.get(tag, KEY)
        if path == "/api/v5/sessions":
            wanted = [{"header": []}]
        assert operation.get("security") == wanted, where
        assert (wanted is None) or "Needs the scope `" in operation["description"], where


def test_native_operations_say_what_they_refuse() -> None:
    for path, method, operation in natives():
        where, answers = f"{method} {path}", operation["responses"]
        for status in answers:
            assert status >= "300" or "X-RateLimit-Remaining" in answers[status]["headers"], where
        for status in ("401", "403", "429"):
            assert list(answers[status]["content"]) == ["application/problem+json"], where
        assert ("307" in answers) is (path in WAITING and method == "get"), where


@pytest.mark.parametrize(
    ("interface", "name"),
    [
        (interfaces.SMSBAT, "BatRefusal"),
        (interfaces.PUSHWOOSH, "PushwooshRefusal"),
        (interfaces.SOCIALPLUS, "SocialRefusal"),
    ],
)
def test_other_systems_refuse_in_their_own_form(interface: Any, name: str) -> None:
    found = [
        operation
        for _, _, operation in operations()
        if operation["tags"] == [interface.tag] and "429" in operation["responses"]
    ]
    assert len(found) > 1
    for operation in found:
        for status in {*operation["responses"]} - {"200"}:
            content = operation["responses"][status]["content"]
            assert content == {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def test_a_parameter_stands_alone_and_several_values_are_separated_by_commas(document: Any) -> None:
    found = {each["name"]: each for each in document["paths"]["/v1/stream"]["get"]["parameters"]}
    assert found["status"]["schema"]["items"]["enum"][0] == "pending" and found["status"]["explode"] is False
    assert "$ref" not in str([operation.get("parameters") for _, _, operation in operations()])


def test_parts_of_a_path_that_are_no_ids_are_listed(document: Any) -> None:
    for path, name, values in (
        ("/p/{token}/{event}", "event", ["received", "opened"]),
        ("/v1/notifications/{notification}/receipts/{kind}", "kind", ["delivered", "read"]),
    ):
        (operation,) = document["paths"][path].values()
        (found,) = [each for each in operation["parameters"] if each["name"] == name]
        assert (found["in"], sorted(found["schema"]["enum"])) == ("path", sorted(values))


def test_values_of_a_name_with_brackets_are_repeated(document: Any) -> None:
    (found,) = [
        each for each in document["paths"]["/api/v3/users/list"]["get"]["parameters"] if each["name"] == "userIds[]"
    ]
    assert (found["style"], found["explode"]) == ("form", True)


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
        expect(page.locator(".opblock")).to_have_count(len(list(operations())))
        shown = [tag.get_attribute("data-tag") for tag in page.locator(".opblock-tag").all()]
        assert shown == [tag["name"] for tag in document["tags"]]
        expect(page.get_by_text("For clients written for SMSBat").first).to_be_visible()
        page.locator("#operations-analytics-getDeliveryMetrics .opblock-summary-control").click()
        expect(page.get_by_text("group_by", exact=True).first).to_be_visible()
        assert complaints == []
        assert {host.split(":")[0] for host in hosts if host} == {"127.0.0.1"}
