"""The whole way: handed in over the API, sent by SMTP to a real server, read and clicked in what arrived there."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.test import Client

from config import pgsystem
from tests.builders import make_account, make_key, make_project
from tests.tracking.engaged import ALL, READER, later, settle
from tracking.models import EngagementSettings
from tracking.services import dispatch, outcomes
from tracking.services.handover import hand_over

pytestmark = pytest.mark.django_db(transaction=True)
HTML = (
    "<html><body><!-- <a href='https://no.example/'> --><p>Grüße, Ada</p>\r\n"
    "<a class=big href='https://shop.example/sale?a=1&amp;b=ü'>Sale</a> <a href=\"mailto:help@shop.example\">Help</a>"
    '<a href="postroom:unsubscribe">Leave</a></body></html>'
)


class Mailbox:
    """A real SMTP server that keeps what it takes."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # type: ignore[arg-type]
        return "250 2.0.0 taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    mailbox, port = Mailbox(), pgsystem.any_free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield mailbox, port
    controller.stop()


def test_a_mail_is_read_clicked_and_unsubscribed_from(mailbox, settings):
    project = make_project(name="Acme")
    account = make_account(
        project,
        kind="smtp",
        settings={"host": "127.0.0.1", "port": mailbox[1], "security": "none"},
        credentials={},
    )
    EngagementSettings.objects.create(project=project, **ALL)
    api = Client(headers={"Authorization": f"Bearer {make_key(project)}"})
    document = {
        "channel": "email",
        "recipient": "ada@example.org",
        "sender": "Shop <ops@shop.example>",
        "subject": "Sale",
        "content": {"html": HTML, "text": "Sale: https://shop.example/sale"},
        "purpose": "newsletter",
    }
    key = api.post("/v1/notifications", document, content_type="application/json").json()["id"]

    (handover,) = dispatch.start(account.pk, 1)
    outcomes.finish([hand_over(handover)])
    assert api.get(f"/v1/notifications/{key}").json()["status"] == "sent"
    (mail,) = mailbox[0].mails
    html_part, text_part = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html_part is not None and text_part is not None
    html = html_part.get_content()
    assert "https://shop.example/sale" in text_part.get_content()

    base = re.escape(settings.PUBLIC_URL)
    (click,) = re.findall(rf"<a class=big href='{base}(/c/[\w-]+)'>", html)
    (pixel,) = re.findall(rf'<img src="{base}(/o/[\w-]+\.gif)"', html)
    (leave,) = re.findall(rf'<a href="{base}(/u/[\w-]+)">Leave', html)
    assert "mailto:help@shop.example" in html and "<!-- <a href='https://no.example/'> -->" in html
    assert mail["List-Unsubscribe"] == f"<{settings.PUBLIC_URL}{leave}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"

    reader = Client(headers={"User-Agent": READER}, enforce_csrf_checks=True)
    with later(60):
        assert reader.get(pixel).content.startswith(b"GIF89a")
    settle()
    told = api.get(f"/v1/notifications/{key}").json()
    assert told["status"] == "read" and told["tracking"]["read_at"] is not None
    with later(70):
        assert reader.get(click)["Location"] == "https://shop.example/sale?a=1&b=%C3%BC"
    settle()
    assert reader.post(leave, {"List-Unsubscribe": "One-Click"}).status_code == 200

    kinds = [
        each["kind"] for each in api.get(f"/v1/notifications/{key}/events").json()["events"] if each["type"] == "event"
    ]
    assert set(kinds) >= {"opened", "clicked", "unsubscribed"}
    again = api.post("/v1/notifications", document, content_type="application/json").json()
    assert (again["status"], again["reason"]) == ("failed", "suppressed")
    other = api.post("/v1/notifications", {**document, "purpose": ""}, content_type="application/json").json()
    assert other["status"] == "pending"
    (consent,) = api.get("/v1/consents", {"channel": "email", "recipient": "ada@example.org"}).json()["consents"]
    assert (consent["purpose"], consent["state"]) == ("newsletter", "withdrawn")
    assert consent["changed_at"] <= datetime.now(UTC).isoformat()
