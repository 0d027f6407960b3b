"""/v1/exports: asked for, followed, fetched, deleted; and everything that must be refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import pytest
import standardwebhooks
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_account, make_endpoint, make_key, make_message, make_project
from tests.tracking.test_publish import answering, send
from tracking.models import Delivery, Endpoint, Export, Message, Scope
from tracking.services import endpoints, export_work, exports

pytestmark = pytest.mark.django_db
NOWHERE = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def directory(tmp_path, settings) -> None:
    settings.EXPORT_DIR = tmp_path


@pytest.fixture
def project():
    found = make_project()
    make_account(found, code="mailer")
    return found


@pytest.fixture
def client(project) -> Client:
    return client_of(project)


def client_of(project, *scopes) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_key(project, scopes or None)}"})


def ask(client: Client, **document: Any) -> Any:
    return client.post("/v1/exports/delivery-data", json.dumps(document), content_type="application/json")


def asked(client: Client, **document: Any) -> dict[str, Any]:
    answer = ask(client, **document)
    assert answer.status_code == 202, answer.content
    return answer.json()


def done(client: Client, **document: Any) -> dict[str, Any]:
    key = asked(client, **document)["id"]
    export_work.work(seconds=60)
    found = client.get(f"/v1/exports/{key}").json()
    assert found["status"] == "completed", found
    return found


def fetched(found: dict[str, Any]) -> bytes:
    """By the address alone, without a key."""
    answer = Client().get(urlsplit(found["download_url"]).path)
    assert answer.status_code == 200, answer.content
    return b"".join(answer.streaming_content)


def ids_of(found: dict[str, Any]) -> list[str]:
    raw = fetched(found)
    text = (gzip.decompress(raw) if found["gzip"] else raw).decode()
    if found["format"] == "jsonl":
        return [json.loads(line)["id"] for line in text.splitlines()]
    return [row["id"] for row in csv.DictReader(io.StringIO(text))]


def test_from_the_request_to_the_file(client, project):
    keys = [str(make_message(project)) for _ in range(3)]
    first = asked(client)
    assert first["status"] == "pending" and first["format"] == "csv" and first["webhook"] is None
    assert first["progress"] == {"rows": 0, "estimated_total": 0, "percent": 0}
    assert first["download_url"] is None and first["sha256"] is None
    found = done(client)
    assert found["progress"] == {"rows": 3, "estimated_total": 3, "percent": 100}
    assert found["bytes"] == len(fetched(found)) and len(found["sha256"]) == 64
    assert ids_of(found) == keys
    assert [each["id"] for each in client.get("/v1/exports").json()["exports"]] == [found["id"], first["id"]]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"status": "pending"}, "abc"),
        ({"status": ["failed", "cancelled"]}, ""),
        ({"status": ["failed", "pending"]}, "abc"),
        ({"channel": "email"}, "abc"),
        ({"channel": "sms"}, ""),
        ({"provider": "mailer"}, "abc"),
        ({"recipient": "eve@EXAMPLE.org"}, "b"),
        ({"external_id": "order-a"}, "a"),
        ({"category": "receipts"}, "ab"),
        ({"template_id": "welcome"}, "c"),
        ({"tag": "blue", "category": "receipts"}, "b"),
        ({"created_before": "2020-01-01T00:00:00Z"}, None),
    ],
)
def test_the_filters_of_the_list(client, project, filters, wanted):
    keys = {
        "a": make_message(project, external_id="order-a", category="receipts"),
        "b": make_message(project, recipient="eve@example.org", category="receipts", tags=["blue"]),
        "c": make_message(project, template_id="welcome", tags=["blue", "red"]),
    }
    if wanted is None:
        assert ask(client, filters=filters).status_code == 422
        return
    found = done(client, format="jsonl", gzip=True, filters=filters)
    assert ids_of(found) == [str(keys[name]) for name in wanted]
    shown = {name: value for name, value in found["filters"].items() if not name.startswith("created_")}
    expected = filters | ({"status": filters["status"]} if isinstance(filters.get("status"), list) else {})
    if isinstance(filters.get("status"), str):
        expected["status"] = [filters["status"]]
    if "recipient" in filters:
        expected["recipient"] = "eve@example.org"
    assert shown == expected


def test_a_batch(client, project):
    made = client.post(
        "/v1/notifications/batch",
        json.dumps(
            {"notifications": [{"channel": "email", "recipient": "a@example.org", "content": {"text": "x"}}] * 2}
        ),
        content_type="application/json",
    ).json()
    make_message(project)
    assert len(ids_of(done(client, filters={"batch_id": made["batch_id"]}))) == 2


def test_days_are_those_of_the_time_zone(client):
    found = asked(client, start_date="2026-03-29", end_date="2026-03-29", timezone="Europe/Berlin")["filters"]
    assert found == {"created_after": "2026-03-28T23:00:00Z", "created_before": "2026-03-29T22:00:00Z"}
    found = asked(client, start_date="2023-01-01", end_date="2023-12-31")["filters"]
    assert found == {"created_after": "2023-01-01T00:00:00Z", "created_before": "2024-01-01T00:00:00Z"}


def test_without_dates_it_is_the_last_year(client):
    found = asked(client)["filters"]
    since, until = (datetime.fromisoformat(found[f"created_{name}"]) for name in ("after", "before"))
    assert timedelta(days=365) <= until - since <= timedelta(days=366)
    assert abs(until - datetime.now(UTC)) < timedelta(minutes=1)  # nothing that comes later


def test_chosen_columns(client, project):
    make_message(project)
    found = done(client, columns=["status", "recipient"])
    assert fetched(found) == b"status,recipient\npending,ada@example.org\n"


@pytest.mark.parametrize(
    ("pointer", "document"),
    [
        ("/format", {"format": "xlsx"}),
        ("/format", {"format": None}),
        ("/format", {"format": ["csv"]}),
        ("/end_date", {"start_date": "2026-02-02", "end_date": "2026-02-01"}),
        ("/start_date", {"start_date": "2999-01-01"}),
        ("/start_date", {"start_date": "2024-01-01", "end_date": "2025-01-01"}),
        ("/start_date", {"start_date": "2026-02-30"}),
        ("/start_date", {"start_date": "yesterday"}),
        ("/start_date", {"start_date": 20260101}),
        ("/start_date", {"start_date": "0001-01-01", "end_date": "0001-01-02"}),
        ("/end_date", {"end_date": "9999-12-31"}),
        ("/timezone", {"timezone": "Mars/Olympus"}),
        ("/timezone", {"timezone": "../../etc/passwd"}),
        ("/timezone", {"timezone": "Europe"}),
        ("/timezone", {"timezone": ""}),
        ("/columns", {"columns": []}),
        ("/columns", {"columns": ["id", "subject; DROP TABLE message"]}),
        ("/columns", {"columns": ["id", "id"]}),
        ("/gzip", {"gzip": "yes"}),
        ("/filters/status", {"filters": {"status": "lost"}}),
        ("/filters/channel", {"filters": {"channel": "fax"}}),
        ("/filters/provider", {"filters": {"provider": "somebody-elses"}}),
        ("/filters/batch_id", {"filters": {"batch_id": 2**63}}),
        ("/filters/recipient", {"filters": {"recipient": "a\x00b"}}),
        ("/filters/created_after", {"filters": {"created_after": "0001-01-01T00:00:00Z"}}),
        ("/filters/created_before", {"filters": {"created_before": "2020-01-01T00:00:00Z"}}),
        ("/start_date", {"start_date": "2011-12-30", "end_date": "2011-12-30", "timezone": "Pacific/Apia"}),
        ("/filters/statuses", {"filters": {"statuses": ["sent"]}}),
        ("/filters", {"filters": []}),
        ("/start", {"start": "2026-01-01"}),
        ("", []),
        ("", "csv"),
    ],
)
def test_what_cannot_be_exported(client, pointer, document):
    make_account(make_project(), code="somebody-elses")
    answer = client.post("/v1/exports/delivery-data", json.dumps(document), content_type="application/json")
    assert answer.status_code == 422, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert any(each == pointer or each.startswith(f"{pointer}/") for each in pointers), pointers
    assert not Export.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://localhost:8000/x", "http://2130706433/", "http://0x7f000001/", "http://[::1]/"),
        *("http://[::ffff:10.0.0.1]/", "http://10.1.2.3/", "http://169.254.169.254/latest", "file:///etc/passwd"),
        *("ftp://example.com/", "http://user@example.com/", "http://user:pw@example.com/", "http://example.com:22/"),
        *("//example.com/", "javascript:alert(1)", "", "http://", "x" * 3_000, "http://exa mple.com/", 7),
    ],
)
def test_addresses_that_are_not_called(client, url):
    answer = ask(client, webhook_url=url)
    assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/webhook_url", answer.content
    assert not Export.objects.exists() and not Endpoint.objects.exists()


def test_the_body_must_be_json(client):
    path = "/v1/exports/delivery-data"
    assert client.post(path, "a=1", content_type="application/x-www-form-urlencoded").status_code == 415
    assert client.post(path, "{", content_type="application/json").status_code == 400
    assert client.get(path).status_code == 405


def test_what_belongs_to_another_project_is_not_there(client, project):
    key = asked(client)["id"]
    other = client_of(make_project())
    for path in (f"/v1/exports/{key}", f"/v1/exports/{NOWHERE}", "/v1/exports/1", "/v1/exports/x%00"):
        assert other.get(path).status_code == other.delete(path).status_code == 404, path
    assert other.get("/v1/exports").json() == {"exports": [], "next_cursor": None}
    assert Export.objects.count() == 1


def test_who_may(project):
    reader, manager = client_of(project, Scope.READ), client_of(project, Scope.MANAGE)
    found = asked(reader)
    assert client_of(project, Scope.SEND).get("/v1/exports").status_code == 403
    assert ask(client_of(project, Scope.SEND)).status_code == 403
    assert ask(reader, webhook_url="https://hooks.example.com/in").status_code == 403
    assert reader.delete(f"/v1/exports/{found['id']}").status_code == 403
    assert Client().get(f"/v1/exports/{found['id']}").status_code == 401
    assert manager.delete(f"/v1/exports/{found['id']}").status_code == 204
    assert reader.get(f"/v1/exports/{found['id']}").status_code == 404


def test_pages_of_the_list_cost_the_same(client, project):
    keys = [asked(client)["id"] for _ in range(5)][::-1]
    first = client.get("/v1/exports?limit=2").json()
    second = client.get(f"/v1/exports?limit=2&cursor={first['next_cursor']}").json()
    third = client.get(f"/v1/exports?limit=2&cursor={second['next_cursor']}").json()
    assert [each["id"] for page in (first, second, third) for each in page["exports"]] == keys
    assert third["next_cursor"] is None
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get("/v1/exports?limit=1")
    with CaptureQueriesContext(connection) as many:
        client.get("/v1/exports?limit=5")
    assert len(many) == len(few) <= 3
    for wrong in ("limit=0", "cursor=x", "page=2"):
        assert client.get(f"/v1/exports?{wrong}").status_code == 400, wrong


def test_too_many_at_once(client):
    for _ in range(exports.MAX_UNFINISHED):
        asked(client)
    assert ask(client).status_code == 409


def test_too_much_is_kept(client, settings):
    settings.EXPORT_KEPT_GB = 1
    Export.objects.filter(pk=asked(client)["id"]).update(bytes=2**30, state="completed")
    refused = ask(client)
    assert refused.status_code == 409 and "delete an export" in refused.json()["detail"]
    assert Export.objects.count() == 1


# --- the webhook


def test_a_new_address_becomes_a_webhook_with_a_secret(client):
    answer = ask(client, webhook_url="https://hooks.example.com/in")
    webhook = answer.json()["webhook"]
    assert answer["Cache-Control"] == "no-store" and webhook["secret"].startswith("whsec_")
    endpoint = Endpoint.objects.get()
    assert endpoint.pk == webhook["id"] and endpoint.events == []
    again = asked(client, webhook_url="https://hooks.example.com/in")
    assert again["webhook"] == {"id": endpoint.pk, "url": "https://hooks.example.com/in"}
    assert Endpoint.objects.count() == 1
    assert "secret" not in client.get(f"/v1/exports/{again['id']}").content.decode()


def test_a_webhook_that_is_off_is_named(client, project):
    endpoint = make_endpoint(project)
    endpoints.deactivate(endpoint.pk)
    answer = ask(client, webhook_url=endpoint.url)
    assert answer.status_code == 422 and "activate it first" in answer.json()["detail"]


def test_the_call_is_signed_and_tried_again(client, project, settings, httpserver):
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    make_message(project)
    seen = answering(httpserver, 503, 200)
    made = asked(client, webhook_url=httpserver.url_for("/in"))
    export_work.work(seconds=60)
    delivery = Delivery.objects.get()
    endpoint = Endpoint.objects.get(pk=made["webhook"]["id"])
    send(endpoint)
    delivery.refresh_from_db()
    assert delivery.state == "pending" and delivery.attempts == 1
    Delivery.objects.update(next_try_at=datetime.now(UTC))
    send(endpoint)
    delivery.refresh_from_db()
    assert delivery.state == "delivered"
    request = seen[-1]
    payload = standardwebhooks.Webhook(made["webhook"]["signing_secret"]).verify(request.data, dict(request.headers))
    assert payload["type"] == "export.complete" and payload["data"]["id"] == made["id"]
    assert ids_of(payload["data"]) == [str(Message.objects.get().pk)]


@pytest.mark.parametrize(
    ("status", "pointer"),
    [("nope", ""), ([], ""), (7, ""), ({}, ""), (["nope"], "/0"), (["failed", "nope"], "/1"), ([[]], "/0")],
)
def test_errors_of_the_statuses_point_at_what_was_sent(client, status, pointer):
    answer = ask(client, filters={"status": status})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/filters/status{pointer}"]


def test_a_download_takes_no_other_method():
    for method in ("post", "put", "delete"):
        answer = getattr(Client(enforce_csrf_checks=True), method)("/downloads/exports/x")
        assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")
