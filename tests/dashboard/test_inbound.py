"""What providers sent: read, replayed, tried again."""

from __future__ import annotations

import hmac
import json
import time
from hashlib import sha256

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dashboard.inbound_page import body_text
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking import ids
from tracking.models import Event, Inbound, Unmatched
from tracking.services import receive
from tracking.services.record import Record

pytestmark = pytest.mark.django_db
LIST = "/admin/tracking/inbound/"
STRAYS = "/admin/tracking/unmatched/"


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def account(project):
    return make_account(project)


def store(account, body: bytes = b"{}", *, state: str = "new", error: str = "", kind: str = "application/json"):
    return Inbound.objects.create(
        id=ids.new(),
        account=account,
        method="POST",
        url="http://postroom.example/hooks/x",
        headers={"content-type": kind},
        body=body,
        state=state,
        error=error,
    )


def receipt(echo: str, word: str = "delivered") -> bytes:
    event = {"id": f"e-{echo}", "type": word, "at": "2026-01-01T00:00:00+00:00", "echo": echo, "reference": "r-1"}
    return json.dumps({"events": [{**event, "recipient": "", "code": "", "text": ""}]}).encode()


def test_filters_and_budget(client, account):
    other = make_account()
    kept = [store(account, state="error", error="<b>no</b>"), store(account), store(other, state="done")]
    assert client.get(f"{LIST}?state=error").context["cl"].result_list[0].pk == kept[0].pk
    assert client.get(f"{LIST}?account={other.pk}").context["cl"].result_count == 1
    assert client.get(f"{LIST}?state=done&account={account.pk}").context["cl"].result_count == 0
    for _ in range(20):
        store(account)
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(f"{LIST}?account={account.pk}&time=1h"))
    assert len(queries) <= 8
    assert "&lt;b&gt;no" in shown


def test_the_page_shows_what_came_and_what_it_led_to(client, project, account):
    key = make_message(project)
    work = Record([key])
    work.start_attempt(work.messages[key], account_id=account.pk, idempotency_key="k")
    work.save()
    row = store(account, receipt(ids.echo(key, 1)))
    assert receive.drain() == 1
    event = Event.objects.get(message_id=key, kind="delivered")
    shown = text(client.get(f"{LIST}{row.pk}/change/"))
    assert f'href="/admin/providers/provideraccount/{account.pk}/"' in shown
    assert event.inbound_id == row.pk
    assert "Events that came from it" in shown
    assert f"/admin/tracking/message/{key}/change/" in shown
    assert "content-type" in shown
    assert f"/admin/tracking/inbound/{row.pk}/change/" in text(client.get(f"/admin/tracking/message/{key}/change/"))


@pytest.mark.parametrize(
    ("body", "kind", "shown_as", "words"),
    [
        (b'{"a":[1]}', "application/json", "JSON", '"a": [\n'),
        ("é <b>".encode(), "text/plain", "text", "é <b>"),
        (b"From: a\xff\xfe", "message/rfc822", "text", "From: a"),
        (b"\x00\x01\xff", "application/octet-stream", "hexadecimal", "00 01 ff"),
        (b"", "", "text", ""),
        (b"\xff" * 200_000, "", "hexadecimal", "ff ff"),
    ],
)
def test_bodies_are_shown_in_a_form_that_can_be_read(body, kind, shown_as, words):
    found, shown = body_text(body, kind)
    assert found == shown_as
    assert words in shown
    assert len(shown) < 400_000


@pytest.mark.parametrize(
    "body", [b"<script>alert(1)</script>", b"\x00" * 10, b"[]", b"null", b'{"events": [1]}', b"\xff"]
)
def test_any_body_can_be_looked_at(client, account, body):
    row = store(account, body, state="error", error="<script>alert(2)</script>")
    response = client.get(f"{LIST}{row.pk}/change/")
    assert response.status_code == 200
    assert "<script>alert" not in text(response)


def test_replay_puts_it_back_by_post(client, account):
    row = store(account, b"not json", state="error", error="bad")
    url = f"{LIST}{row.pk}/replay/"
    assert client.get(url).status_code == 405
    assert Inbound.objects.get(pk=row.pk).state == "error"
    assert "is read again" in text(client.post(url, follow=True))
    row.refresh_from_db()
    assert (row.state, row.error) == ("new", "")
    receive.drain()
    row.refresh_from_db()
    assert row.state == "error"


def test_viewers_cannot_replay(account):
    row = store(account, state="error", error="bad")
    client = staff("tracking.view_inbound")
    assert "/replay/" not in text(client.get(f"{LIST}{row.pk}/change/"))
    assert client.post(f"{LIST}{row.pk}/replay/").status_code == 403
    row.refresh_from_db()
    assert row.state == "error"
    assert staff().post(f"{LIST}{row.pk}/replay/").status_code == 403


def test_unmatched_receipts_are_listed_and_tried_now(client, account):
    store(account, receipt(ids.echo(ids.new(), 1)))
    receive.drain()
    stray = Unmatched.objects.get()
    before = stray.next_try_at
    assert "no attempt has this id" in text(client.get(STRAYS))
    assert client.get(f"{STRAYS}?state=given_up").context["cl"].result_count == 0
    assert client.get(f"{STRAYS}{stray.pk}/change/").status_code == 200
    form = {"action": "try_now", "_selected_action": [stray.pk], "index": "0"}
    assert "1 receipt is tried again" in text(client.post(STRAYS, form, follow=True))
    stray.refresh_from_db()
    assert stray.next_try_at < before


def test_viewers_have_no_try_now(account):
    store(account, receipt(ids.echo(ids.new(), 1)))
    receive.drain()
    stray = Unmatched.objects.get()
    client = staff("tracking.view_unmatched")
    assert "try_now" not in text(client.get(STRAYS))
    client.post(STRAYS, {"action": "try_now", "_selected_action": [stray.pk], "index": "0"})
    assert Unmatched.objects.get().next_try_at == stray.next_try_at


def test_a_genuine_request_through_the_hook_shows_up(client, account):
    body, stamp = receipt(ids.echo(ids.new(), 1)), str(int(time.time()))
    sign = hmac.new(b"test-hook-secret", f"{stamp}.".encode() + body, sha256).hexdigest()
    headers = {"X-Sandbox-Timestamp": stamp, "X-Sandbox-Signature": sign}
    answer = Client().post(f"/hooks/{account.hook_token}", body, content_type="application/json", headers=headers)
    assert answer.status_code == 200, answer.content
    assert client.get(LIST).context["cl"].result_count == 1
