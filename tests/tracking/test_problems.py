"""Whatever refuses a program, Django itself included, answers with a problem document and without a traceback."""

from __future__ import annotations

import logging

import pytest
from django.test import Client

from tests.builders import make_account

pytestmark = pytest.mark.django_db


def problem(answer, status: int) -> dict:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers.get("Content-Length", str(len(answer.content))) == str(len(answer.content))
    document = answer.json()
    assert document["status"] == status and document["type"].startswith("urn:postroom:") and document["detail"]
    return document


@pytest.mark.parametrize("path", ["/v1/notifications", "/v1/nowhere", "/hooks/abc"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:99999", "a b", "", "<script>"])
def test_another_host_is_refused_in_one_line(caplog: pytest.LogCaptureFixture, path: str, host: str) -> None:
    with caplog.at_level(logging.INFO):
        answer = Client().post(path, headers={"host": host})
    if host:  # without one the test client says "testserver", as a server would fill in its own
        assert "ALLOWED_HOSTS" in problem(answer, 400)["detail"]
        assert len([record for record in caplog.records if record.name != "postroom.request"]) == 1
    assert not any(record.exc_info for record in caplog.records)


def test_another_host_is_refused_to_people_as_well() -> None:
    answer = Client().get("/admin/", headers={"host": "evil.example"})
    assert (answer.status_code, answer.content) == (400, b"This host is not served here.\n")
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/a/b/c", "/api/v1/a", "/api/a", "/hooks", "/hooks/", "/hooks/a/b"])
def test_addresses_that_lead_nowhere(caplog: pytest.LogCaptureFixture, path: str) -> None:
    problem(Client().get(path), 404)
    assert not any(record.exc_info for record in caplog.records)


def test_a_method_that_the_hook_does_not_take() -> None:
    answer = Client().delete(f"/hooks/{make_account().hook_token}")
    assert problem(answer, 405)["type"] == "urn:postroom:method-not-allowed"
    assert answer.headers["Allow"] == "POST"


def test_pages_for_people_stay_html() -> None:
    assert Client().get("/nowhere").headers["Content-Type"].startswith("text/html")
