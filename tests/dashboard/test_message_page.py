"""The buttons of a message's page, its receipts, and the links between a message and its copies."""

from __future__ import annotations

import re
from html import unescape
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dashboard import message_page
from providers.base import FailureClass
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tests.tracking.lives import fail, status_of
from tracking import ids
from tracking.models import Event, Inbound, InboundState, Message, Suppression
from tracking.services import route
from tracking.tracker import DeliveryTracker

pytestmark = pytest.mark.django_db
DEEDS = {
    "retry": "tracking.retry_message",
    "retry-via": "tracking.retry_message",
    "cancel": "tracking.cancel_message",
    "send-again": "tracking.resend_message",
    "suppress": "tracking.suppress_recipient",
}


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def project():
    found = make_project()
    make_account(found, weight=500)
    return found


def page(key) -> str:
    return reverse("admin:tracking_message_change", args=[key])


def deed(name, key) -> str:
    return reverse(f"admin:tracking_message_{name}", args=[key])


def hidden(shown: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', shown)
    assert found, name
    return found[1]


def test_retry_via_another_account_by_the_form_of_the_page(client, project):
    key = make_message(project)
    fail(key, failure=FailureClass.PERMANENT, code="421")
    other = make_account(project, code="the-other", weight=1)
    route.forget()
    shown = text(client.get(page(key)))
    assert f'<option value="{other.pk}">the-other</option>' in shown
    form = {"seen": hidden(shown, "seen"), "account": other.pk}
    assert "through the account" in text(client.post(deed("retry-via", key), form, follow=True))
    assert Message.objects.get(pk=key).account_id == other.pk
    assert "changed meanwhile" in text(client.post(deed("retry-via", key), form, follow=True))
    assert Message.objects.get(pk=key).operator_retries == 1


@pytest.mark.parametrize("account", ["", "x", "-1", "999999", "9" * 40, "\0"])
def test_retry_via_a_bad_account_is_refused(client, project, account):
    key = make_message(project)
    fail(key)
    assert "Not done" in text(client.post(deed("retry-via", key), {"account": account}, follow=True))
    assert status_of(key) == "failed"


def test_a_double_click_on_send_again_makes_one_message_and_both_are_linked(client, project):
    key = make_message(project)
    form = {"token": hidden(text(client.get(page(key))), "token")}
    for _ in range(2):
        response = client.post(deed("send-again", key), form, follow=True)
        assert "This is the new message" in text(response)
    copy = Message.objects.exclude(pk=key).get().pk
    assert response.redirect_chain[-1][0] == page(copy)
    assert page(copy) in text(client.get(page(key))) and "Sent again, as a new message" in text(client.get(page(key)))
    assert page(key) in text(client.get(page(copy))) and "as a copy of another" in text(client.get(page(copy)))


@pytest.mark.parametrize("token", ["", "x", "\0"])
def test_send_again_without_its_token_does_nothing(client, project, token):
    key = make_message(project)
    assert "incomplete" in text(client.post(deed("send-again", key), {"token": token}, follow=True))
    assert Message.objects.count() == 1


def test_suppressing_the_recipient_shows_and_cannot_be_done_twice(client, project):
    key = make_message(project)
    assert "Suppress</button>" in text(client.get(page(key)))
    assert "nothing more is sent" in text(client.post(deed("suppress", key), follow=True))
    shown = text(client.get(page(key)))
    assert "Suppress</button>" not in shown
    assert "is on the suppression list" in shown
    assert Suppression.objects.count() == 1


@pytest.mark.parametrize("name", DEEDS)
def test_each_button_has_its_permission(project, name):
    key = make_message(project)
    if name.startswith("retry"):
        fail(key)
        make_account(project, weight=1)
        route.forget()
    before = Message.objects.filter(pk=key).values().get()
    others = {permission for deed, permission in DEEDS.items() if permission != DEEDS[name]}
    without = staff("tracking.view_message", *others)
    assert f"/{name}/" not in text(without.get(page(key)))
    assert without.post(deed(name, key), {"token": uuid4()}).status_code == 403
    assert staff(DEEDS[name]).post(deed(name, key)).status_code == 403  # who may not see it may not act on it
    assert Message.objects.filter(pk=key).values().get() == before
    allowed = staff("tracking.view_message", DEEDS[name])
    assert f"/{name}/" in text(allowed.get(page(key)))
    assert allowed.get(deed(name, key)).status_code == 405
    assert allowed.post(deed(name, key), {"token": uuid4()}).status_code == 302


@pytest.mark.parametrize("seen", ["failed", "failed.", "failed.x", "x.99999999999", ".", "\0.1"])
def test_a_form_that_saw_something_else_does_nothing(client, project, seen):
    key = make_message(project)
    fail(key)
    client.post(deed("retry", key), {"seen": seen})
    assert status_of(key) == ("pending" if seen == "." else "failed")


def test_receipts_come_page_by_page(client, project, monkeypatch):
    monkeypatch.setattr(message_page, "SHOWN_RECEIPTS", 2)
    key = make_message(project)
    account = project.accounts.get()
    inbound = [
        Inbound.objects.create(
            id=ids.new(), account=account, method="POST", url="/", headers=[], body=b"", state=InboundState.DONE
        ).pk
        for _ in range(5)
    ]
    first = Event.objects.get(message_id=key)
    for number, each in enumerate(inbound * 2):
        first.pk = (key, f"r{number}")
        first.kind, first.inbound_id, first.number = "other", each, None
        first.save(force_insert=True)
    shown: list[str] = []
    url: str | None = reverse("admin:tracking_message_receipts", args=[key])
    while url:
        found = text(client.get(url))
        shown += re.findall(r"inbound/([0-9a-f-]{36})/", found)
        more = re.search(r'hx-get="([^"]+)"', found)
        url = more and more[1]
    assert shown == [str(each) for each in inbound]
    assert client.get(reverse("admin:tracking_message_receipts", args=[key]) + "?after=%00").status_code == 200
    assert staff("tracking.view_project").get(deed("receipts", key)).status_code == 403


def test_a_long_timeline_is_cut_at_its_newest_events(client, project, monkeypatch):
    monkeypatch.setattr(message_page, "SHOWN_EVENTS", 2)
    key = make_message(project)
    fail(key)
    shown = text(client.get(page(key)))
    assert "Taken in, to be sent" not in shown and "Given up" in shown and "The newest of its events" in shown


def test_budget_of_queries_of_the_page(client, project):
    key = make_message(project)
    fail(key)
    with CaptureQueriesContext(connection) as queries:
        client.get(page(key))
    assert len(queries) <= 18


def test_the_page_of_a_message_that_an_application_tracks(client):
    """It says who reported, and offers no retry: there is no content to send."""
    tracked = make_project()
    make_account(tracked, channel="sms")
    tracker = DeliveryTracker(tracked, "sms")
    hook = {"url": "https://hooks.example.com/in", "events": ["message.queued", "message.failed"]}
    tracker.track_message("order-7", "+821012345678", webhooks=[hook])
    tracker.update_status("order-7", "FAILED", error={"code": "3104", "message": "no such user"})
    shown = text(client.get(page(Message.objects.get().pk)))
    assert "DeliveryTracker" in shown and "3104" in shown and "hooks.example.com" in shown
    assert 'name="account"' not in shown


def test_documents_are_shown_as_json(client, project):
    key = make_message(project, metadata={"order": "A-1", "gift": True, "note": None, "town": "Zürich"})
    shown = unescape(text(client.get(page(key))))
    assert '"gift": true' in shown and '"note": null' in shown and "Zürich" in shown
    assert "True" not in shown.split("<h3>Metadata</h3>")[1].split("</pre>")[0]
