"""/v1/webhooks: made, read, changed, switched, tested, replayed; and everything that must be refused."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_endpoint, make_key, make_project
from tests.tracking.test_publish import answering, send, waiting_for
from tracking import endpoint_schema, signing_out
from tracking.models import Delivery, Endpoint
from tracking.services import endpoints, publish

pytestmark = pytest.mark.django_db
WANTED = {"url": "https://hooks.example.com/in", "events": ["notification.delivered", "notification.failed"]}


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def client(project) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_key(project)}"})


def call(client: Client, method: str, path: str = "", document: Any = None) -> Any:
    body = {} if method == "get" else {"data": "", "content_type": "application/json"}
    if document is not None:
        body["data"] = json.dumps(document)
    return getattr(client, method)(f"/v1/webhooks{path}", **body)


def made(client: Client, **kw: Any) -> dict[str, Any]:
    answer = call(client, "post", "", WANTED | kw)
    assert answer.status_code == 201, answer.content
    return answer.json()


def refused(answer: Any, status: int = 422, pointer: str | None = None) -> None:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    if pointer is not None:
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]


def test_the_line_of_the_document(client):
    """ChatAPI's own example, as it stands."""
    found = made(
        client,
        url="https://yourapp.com/webhooks/chatapi/delivery",
        events=["notification.delivered", "notification.failed", "notification.read"],
        secret="your_webhook_secret",
    )
    assert found["secret"] == "your_webhook_secret"
    assert found["signing_secret"] == signing_out.whsec_of("your_webhook_secret")
    assert found["is_active"] and found["disabled_reason"] is None


def test_a_secret_is_shown_once(client):
    answer = call(client, "post", "", WANTED | {"custom_headers": {"Authorization": "Bearer hidden-token"}})
    assert answer["Cache-Control"] == "no-store"
    found = answer.json()
    assert found["secret"].startswith("whsec_") and found["signing_secret"] == found["secret"]
    for later in (call(client, "get"), call(client, "get", f"/{found['id']}")):
        text = later.content.decode()
        assert found["secret"] not in text and "hidden-token" not in text and "secret" not in later.json()
    assert call(client, "get", f"/{found['id']}").json()["custom_headers"] == {"Authorization": None}
    assert "hidden-token" not in Endpoint.objects.get().sealed


def test_change_delete_and_the_list(client):
    one, other = made(client), made(client)
    path = f"/{one['id']}"
    changed = call(client, "patch", path, {"events": ["notification.read"], "description": "ours"}).json()
    assert (changed["events"], changed["description"], changed["url"]) == (["notification.read"], "ours", WANTED["url"])
    assert call(client, "delete", path).status_code == 204
    refused(call(client, "get", path), 404)
    refused(call(client, "delete", path), 404)
    assert [each["id"] for each in call(client, "get").json()["webhooks"]] == [other["id"]]


def test_a_header_that_is_null_keeps_its_value(client):
    found = made(client, custom_headers={"X-One": "1", "X-Two": "2"})
    call(client, "patch", f"/{found['id']}", {"custom_headers": {"X-Two": None, "X-Three": "3"}})
    assert Endpoint.objects.get().opened["headers"] == {"X-Two": "2", "X-Three": "3"}
    assert Endpoint.objects.get().opened["secret"] == found["secret"]


def test_switch_and_rotate(client):
    found = made(client)
    path = f"/{found['id']}"
    assert call(client, "post", f"{path}/deactivate").json()["is_active"] is False
    assert call(client, "post", f"{path}/activate").json()["is_active"] is True
    rotated = call(client, "post", f"{path}/rotate-secret").json()
    assert rotated["secret"] != found["secret"] and rotated["previous_secret_until"]


def test_a_secret_signs_as_long_as_was_said(client):
    path = f"/{made(client, secret='first')['id']}/rotate-secret"
    until = call(client, "post", path, {"secret": "second", "overlap_hours": 2}).json()["previous_secret_until"]
    for document in (None, {"secret": "third"}, {"overlap_hours": 1}):
        answer = call(client, "post", path, document)
        refused(answer, 409)
        assert until[:19] in answer.json()["detail"]
    endpoint = Endpoint.objects.get()
    assert publish.valid_secrets(endpoint, datetime.now(UTC)) == ("second", "first")
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2, seconds=1)):
        assert call(client, "post", path, {"secret": "third"}).status_code == 200
        assert publish.valid_secrets(Endpoint.objects.get(), datetime.now(UTC)) == ("third", "second")


def test_secrets_that_have_leaked_are_ended_at_once(client):
    path = f"/{made(client, secret='first')['id']}/rotate-secret"
    call(client, "post", path, {"secret": "second"})
    found = call(client, "post", path, {"secret": "third", "overlap_hours": 0}).json()
    assert found["previous_secret_until"] is None
    assert publish.valid_secrets(Endpoint.objects.get(), datetime.now(UTC)) == ("third",)


def test_a_test(client, httpserver, settings):
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    seen = answering(httpserver, 200, 500)
    found = made(client, url=httpserver.url_for("/in"), secret="s")
    path = f"/{found['id']}"
    first, second = (call(client, "post", f"{path}/test").json() for _ in range(2))
    assert (first["delivered"], first["response_status"], first["response_body"]) == (True, 200, "noted")
    assert (second["delivered"], second["error"]) == (False, "HTTP 500")
    body = seen[0].get_data()
    assert json.loads(body)["type"] == "webhook.test"
    assert seen[0].headers["X-ChatAPI-Signature"] == f"sha256={hmac.new(b's', body, 'sha256').hexdigest()}"
    listed = call(client, "get", f"{path}/deliveries").json()["deliveries"]
    assert [each["state"] for each in listed] == ["failed", "delivered"]
    assert Endpoint.objects.get().failing_since is None


def test_deliveries_with_attempts_page_by_page(client, project, httpserver, settings):
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    answering(httpserver, 500, 200)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    rows = [waiting_for(endpoint) for _ in range(5)]
    send(endpoint, limit=1)
    path, seen, cursor = f"/{endpoint.pk}/deliveries", [], ""
    for _ in range(3):
        page = call(client, "get", f"{path}?limit=2{cursor}").json()
        seen += [each["id"] for each in page["deliveries"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [str(row.pk) for row in reversed(rows)] and page["next_cursor"] is None
    one = call(client, "get", f"{path}/{rows[0].pk}").json()
    assert one["state"] == "pending" and one["attempts"][0]["response_status"] == 500
    assert one["payload"]["id"] == str(rows[0].pk)
    assert call(client, "get", f"{path}?state=failed").json()["deliveries"] == []
    assert len(call(client, "get", f"{path}?state=pending&event=notification.sent").json()["deliveries"]) == 5


def test_the_list_costs_the_same_however_many_attempts(client, project):
    endpoint = make_endpoint(project)

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            call(client, "get", f"/{endpoint.pk}/deliveries")
        return len(queries)

    waiting_for(endpoint)
    cost()
    few = cost()
    for _ in range(20):
        waiting_for(endpoint)
    assert cost() == few <= 4


def test_replay_of_one_and_of_a_period(client, project):
    endpoint = make_endpoint(project)
    failed, done, waits = (waiting_for(endpoint, state=state) for state in ("failed", "delivered", "pending"))
    path = f"/{endpoint.pk}"
    assert call(client, "post", f"{path}/deliveries/{done.pk}/replay").json()["state"] == "pending"
    refused(call(client, "post", f"{path}/deliveries/{waits.pk}/replay"), 409)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    answer = call(client, "post", f"{path}/replay", {"since": since, "states": ["failed"]})
    assert (answer.status_code, answer.json()) == (202, {"replayed": 1, "next_cursor": None})
    failed.refresh_from_db()
    assert (failed.state, failed.attempts) == ("pending", 0)
    endpoints.deactivate(endpoint.pk)
    refused(call(client, "post", f"{path}/replay", {"since": since}), 409)


def test_a_long_period_goes_on_with_a_cursor(client, project, monkeypatch):
    monkeypatch.setattr("tracking.services.deliveries.REPLAYED", 2)
    endpoint = make_endpoint(project)
    for _ in range(5):
        waiting_for(endpoint, state="failed")
    document: dict[str, Any] = {"since": "2020-01-01T00:00:00Z"}
    counts = []
    for _ in range(3):
        answer = call(client, "post", f"/{endpoint.pk}/replay", document).json()
        counts.append(answer["replayed"])
        document["cursor"] = answer["next_cursor"]
    assert counts == [2, 2, 1] and answer["next_cursor"] is None
    assert Delivery.objects.filter(state="pending").count() == 5


# --- what is refused


HOSTILE = [
    *("http://127.0.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/"),
    *("http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://0.0.0.0/", "http://localhost/"),
    *("http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/", "http://169.254.169.254/latest/meta-data"),
    *("http://[fe80::1]/", "http://[fd00::1]/", "http://100.64.0.1/", "http://[64:ff9b::7f00:1]/", "http://224.0.0.1/"),
    *(
        "https://user@hooks.example.com/",
        "https://user:word@hooks.example.com/",
        "https://hooks.example.com@127.0.0.1/",
    ),
    *("file:///etc/passwd", "ftp://hooks.example.com/", "gopher://hooks.example.com/", "javascript:alert(1)", "//x/y"),
    *("http://hooks.example.com:22/", "http://hooks.example.com:25/", "http://hooks.example.com:0/"),
    *(
        "http://hooks.example.com:99999/",
        "http://hooks.example.com:x/",
        "http://",
        "http:///in",
        "hooks.example.com/in",
    ),
    *("http://hooks.example.com\\@127.0.0.1/", "http://hooks.example.com/a b", "http://exämple.com/", "http://*.com/"),
    *("http://hooks.example.com/\r\nHost: x", "", "x" * 3000, "http://" + "a" * 70 + ".com/", "http://[::1/"),
    *("http://[fe80::1%25eth0]/", "http://[2606:4700::1%25eth0]/", "http://[fe80::1%eth0]/", "http://a%2eb.com/"),
    *("http://127.0.0.1./", "http://10.0.0.1.:8080/in", "http://0x7f000001./", "http://localhost./"),
    *("https://xn--/", "https://XN--/", "https://xn--a/", "https://hooks.xn--99999999999.com/"),
]


@pytest.mark.parametrize("url", HOSTILE)
def test_addresses_that_nobody_may_name(client, project, url):
    refused(call(client, "post", "", WANTED | {"url": url}), 422, "/url")
    assert not Endpoint.objects.exists()
    endpoint = make_endpoint(project)
    refused(call(client, "patch", f"/{endpoint.pk}", {"url": url}), 422, "/url")
    endpoint.refresh_from_db()
    assert endpoint.url == "https://hooks.example.com/in"


def test_a_slow_name_server_holds_no_lock(client, project, monkeypatch):
    """The publish loop locks the endpoints that it has called, of all projects at once."""
    endpoint, asked = make_endpoint(project), []
    with CaptureQueriesContext(connection) as queries:
        monkeypatch.setattr(
            endpoint_schema, "check", lambda *_: asked.extend("FOR UPDATE" in each["sql"] for each in queries)
        )
        assert call(client, "patch", f"/{endpoint.pk}", {"url": "https://slow.example.com/"}).status_code == 200
    assert asked and not any(asked)
    assert any("FOR UPDATE" in each["sql"] for each in queries)


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"events": []}, "/events"),
        ({"events": ["notification.eaten"]}, "/events"),
        ({"events": "notification.sent"}, "/events"),
        ({"events": [1]}, "/events/0"),
        ({"secret": ""}, "/secret"),
        ({"secret": "x" * 257}, "/secret"),
        ({"secret": "whsec_short"}, "/secret"),
        ({"secret": "a\nb"}, "/secret"),
        ({"description": "x" * 201}, "/description"),
        ({"description": "a\0b"}, "/description"),
        ({"max_in_flight": 0}, "/max_in_flight"),
        ({"max_in_flight": 33}, "/max_in_flight"),
        ({"custom_headers": {"webhook-id": "x"}}, "/custom_headers"),
        ({"custom_headers": {"Host": "x"}}, "/custom_headers"),
        ({"custom_headers": {"X-CHATAPI-signature": "x"}}, "/custom_headers"),
        ({"custom_headers": {"X-A": "a\r\nX-B: b"}}, "/custom_headers"),
        ({"custom_headers": {"X A": "a"}}, "/custom_headers"),
        ({"custom_headers": {"X-A": "ä"}}, "/custom_headers"),
        ({"custom_headers": {"X-A": "1", "x-a": "2"}}, "/custom_headers"),
        ({"custom_headers": {f"X-{n}": "1" for n in range(21)}}, "/custom_headers"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_what_an_endpoint_may_not_hold(client, changed, pointer):
    refused(call(client, "post", "", WANTED | changed), 422, pointer)
    assert not Endpoint.objects.exists()


@pytest.mark.parametrize("document", [[], "x", 7, {}, {"url": "https://a.example/"}])
def test_what_is_no_endpoint_at_all(client, document):
    refused(call(client, "post", "", document))


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({}, "/since"),
        ({"since": "yesterday"}, "/since"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "/until"),
        ({"since": "2026-01-02T00:00:00Z", "states": ["eaten"]}, "/states/0"),
        ({"since": "2026-01-02T00:00:00Z", "cursor": "!"}, "/cursor"),
    ],
)
def test_periods_that_are_none(client, project, document, pointer):
    refused(call(client, "post", f"/{make_endpoint(project).pk}/replay", document), 422, pointer)


def test_extreme_periods(client, project):
    endpoint = make_endpoint(project)
    for since in ("0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z", "1969-01-01T00:00:00Z"):
        assert call(client, "post", f"/{endpoint.pk}/replay", {"since": since}).status_code == 202


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=!", "state=eaten", "event=x", "surprise=1"])
def test_queries_that_are_none(client, project, query):
    refused(call(client, "get", f"/{make_endpoint(project).pk}/deliveries?{query}"), 400)


@pytest.mark.parametrize("document", [{"secret": ""}, {"overlap_hours": -1}, {"overlap_hours": 10**9}, {"x": 1}, []])
def test_rotations_that_are_none(client, project, document):
    refused(call(client, "post", f"/{make_endpoint(project).pk}/rotate-secret", document))


ADDRESSES = [
    *(("get", ""), ("patch", ""), ("delete", ""), ("post", "/activate"), ("post", "/deactivate"), ("post", "/test")),
    *(("post", "/rotate-secret"), ("post", "/replay"), ("get", "/deliveries")),
    *(("get", "/deliveries/x"), ("post", "/deliveries/x/replay")),
]


@pytest.mark.parametrize(("method", "tail"), ADDRESSES)
def test_others_and_unknown_ones_are_404_and_keys_need_the_scope(client, project, method, tail):
    document = {"since": "2026-01-01T00:00:00Z"} if tail == "/replay" else {} if method == "patch" else None
    foreign = make_endpoint(make_project())
    for key in (foreign.pk, 10**17, "x", "0x1", "-1", "1" * 30):
        refused(call(client, method, f"/{key}{tail}", document), 404)
    mine = make_endpoint(project)
    other = Client(headers={"Authorization": f"Bearer {make_key(project, ['send', 'read'], name='other')}"})
    refused(call(other, method, f"/{mine.pk}{tail}", document), 403)
    refused(call(Client(), method, f"/{mine.pk}{tail}", document), 401)


def test_a_get_changes_nothing_and_methods_are_told(client, project):
    key = make_endpoint(project).pk
    for tail in ("activate", "deactivate", "test", "rotate-secret", "replay"):
        refused(call(client, "get", f"/{key}/{tail}"), 405)
    refused(call(client, "put", f"/{key}", {}), 405)


def test_there_is_an_end_to_the_number_of_endpoints(client, monkeypatch):
    monkeypatch.setattr(endpoints, "MAX_ENDPOINTS", 2)
    made(client), made(client)
    refused(call(client, "post", "", WANTED), 409)


def test_a_list_of_deliveries_names_everything_that_is_wrong(client, project):
    answer = call(client, "get", f"/{make_endpoint(project).pk}/deliveries?state=new&event=x&limit=0&cursor=!&foo=1")
    refused(answer, 400)
    assert {error["parameter"] for error in answer.json()["errors"]} == {"state", "event", "limit", "cursor", "foo"}
