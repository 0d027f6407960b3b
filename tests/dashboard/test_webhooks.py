"""The pages of webhook endpoints and deliveries, and their buttons."""

from __future__ import annotations

import html
from ipaddress import ip_network

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_account, make_endpoint, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tests.tracking.test_publish import answering, send, waiting_for
from tracking.models import Delivery, Endpoint

pytestmark = pytest.mark.django_db
ENDPOINTS, DELIVERIES = "/admin/tracking/endpoint/", "/admin/tracking/delivery/"


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def endpoint(settings, httpserver) -> Endpoint:
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    answering(httpserver, 200, 500)
    return make_endpoint(make_project(), httpserver.url_for("/in"), custom_headers={"X-Token": "never-shown"})


def test_lists_and_their_budget(client, endpoint):
    for number in range(30):
        waiting_for(endpoint, state=("failed", "delivered")[number % 2])
    for url in (ENDPOINTS, DELIVERIES, f"{DELIVERIES}?endpoint={endpoint.pk}&state=failed&time=1h"):
        with CaptureQueriesContext(connection) as queries:
            shown = text(client.get(url))
        assert len(queries) <= 9, url
        assert endpoint.url in shown
    assert client.get(f"{DELIVERIES}?state=failed").context["cl"].result_count == 15
    assert "no state" in text(client.get(f"{DELIVERIES}?state=eaten"))


def test_the_page_of_an_endpoint(client, endpoint):
    waiting_for(endpoint)
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(f"{ENDPOINTS}{endpoint.pk}/change/"))
    assert len(queries) <= 8
    assert "X-Token" in shown and "never-shown" not in shown and "a-secret-of-the-tests" not in shown
    assert "notification.sent" in shown
    for state in ({"disabled_reason": "gone"}, {"disabled_reason": "failing"}, {"disabled_reason": ""}):
        Endpoint.objects.update(active=False, **state)
        assert "banner-warn" in text(client.get(f"{ENDPOINTS}{endpoint.pk}/change/"))


def test_the_buttons(client, endpoint):
    page = f"{ENDPOINTS}{endpoint.pk}/"
    assert "It answered 200" in text(client.post(f"{page}test/", follow=True))
    assert "HTTP 500" in text(client.post(f"{page}test/", follow=True))
    client.post(f"{page}deactivate/")
    endpoint.refresh_from_db()
    assert not endpoint.active
    client.post(f"{page}activate/")
    endpoint.refresh_from_db()
    assert endpoint.active
    answer = client.post(f"{page}rotate/")
    endpoint.refresh_from_db()
    assert endpoint.opened["secret"] in html.unescape(text(answer)) and "no-store" in answer["Cache-Control"]
    assert endpoint.opened["previous"] == "a-secret-of-the-tests"
    assert "It keeps its secret" in text(client.post(f"{page}rotate/", follow=True))


def test_replay_by_button_and_by_selection(client, endpoint):
    rows = [waiting_for(endpoint, state=state) for state in ("failed", "delivered", "pending")]
    client.post(f"{DELIVERIES}{rows[0].pk}/replay/")
    rows[0].refresh_from_db()
    assert rows[0].state == "pending"
    assert "still waiting" in text(client.post(f"{DELIVERIES}{rows[0].pk}/replay/", follow=True))
    chosen = {"action": "replay_selected", "_selected_action": [str(row.pk) for row in rows]}
    assert "1 of 3 are sent again" in text(client.post(DELIVERIES, chosen, follow=True))
    rows[1].refresh_from_db()
    assert rows[1].state == "pending"


def test_the_page_of_a_delivery_escapes_what_came_back(client, endpoint):
    row = waiting_for(endpoint)
    send(endpoint)
    row.tries.update(answer="<script>alert(1)</script>", error="<b>no</b>")
    shown = text(client.get(f"{DELIVERIES}{row.pk}/change/"))
    assert "<script>alert" not in shown and "&lt;script&gt;" in shown and "&lt;b&gt;no" in shown
    assert f"{ENDPOINTS}{endpoint.pk}/change/" in shown


def test_the_page_of_a_message_names_who_was_told(client, endpoint):
    make_account(endpoint.project)
    key = make_message(endpoint.project)
    assert "Webhooks</h2>" not in text(client.get(f"/admin/tracking/message/{key}/change/"))
    row = waiting_for(endpoint, message_id=key)
    shown = text(client.get(f"/admin/tracking/message/{key}/change/"))
    assert "Webhooks</h2>" in shown and f"{DELIVERIES}{row.pk}/change/" in shown


def test_who_may_only_look(endpoint):
    row = waiting_for(endpoint, state="failed")
    viewer = staff("tracking.view_endpoint", "tracking.view_delivery")
    shown = text(viewer.get(f"{ENDPOINTS}{endpoint.pk}/change/")) + text(viewer.get(f"{DELIVERIES}{row.pk}/change/"))
    assert "Send a test" not in shown and "Replay" not in shown and "New secret" not in shown
    chosen = {"action": "replay_selected", "_selected_action": [str(row.pk)]}
    viewer.post(DELIVERIES, chosen)
    assert Delivery.objects.get().state == "failed"


def test_a_deleted_endpoint_has_no_page(client, endpoint):
    Endpoint.objects.update(deleted_at="2026-01-01T00:00:00Z", active=False)
    assert client.get(f"{ENDPOINTS}{endpoint.pk}/change/").status_code == 302
    assert endpoint.url not in text(client.get(ENDPOINTS))
