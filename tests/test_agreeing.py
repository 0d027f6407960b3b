"""That answers otherwise than the OpenAPI document says are noticed at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from tests import agreeing

REFUSAL = {"error": {"code": "NOT_FOUND", "message": "There is nothing at this address."}}


def test_the_path_finds_the_operation() -> None:
    def name(method: str, path: str) -> str | None:
        found = agreeing.operation_of(method, path)
        return found["operationId"] if found else None

    assert name("GET", "/v1/webhooks/7") == name("GET", "/api/v1/webhooks/7") == "getWebhook"
    assert name("GET", "/api/v5/messages/list") == "getApiV5MessagesList"
    assert name("GET", "/json/1.3/files/x.zip") == "getJson13FilesTokenZip"
    for unknown in ("/admin/", "/bat/message/a/b", "/v1/nowhere"):
        assert name("GET", unknown) is None


@pytest.mark.parametrize(
    ("status", "kind", "body", "word"),
    [
        (404, "application/json", REFUSAL, ""),
        (418, "application/json", REFUSAL, "not described"),
        (404, "text/html", REFUSAL, "is text/html"),
        (404, "application/json", {"error": "x"}, "not of type"),
        (404, "application/json", {**REFUSAL, "more": 1}, "more"),
        (404, "application/json", {"error": {**REFUSAL["error"], "code": "X"}}, "not one of"),
        (404, "application/json", {}, "required"),
    ],
)
def test_what_is_otherwise_is_named(status: int, kind: str, body: Any, word: str) -> None:
    operation = agreeing.operation_of("GET", "/bat/message/x")
    assert operation is not None
    fault = agreeing.fault_of(operation, status, kind, json.dumps(body).encode())
    assert word in fault and bool(fault) is bool(word), fault


def test_every_answer_to_a_test_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(agreeing.document()["paths"]["/healthz"]["get"]["responses"], "200", {"content": {}})
    with pytest.raises(AssertionError, match="GET /healthz: 200 is application/json"):
        Client().get("/healthz")
