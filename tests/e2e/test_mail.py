"""Bounce mail, the whole way: sent by SMTP to a real server, its bounce handed to `manage.py ingest_mail`."""

from __future__ import annotations

import email
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from config import pgsystem
from tests.e2e.harness import Stack, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]

DSN = """\
From: MAILER-DAEMON@mx.example.net
To: {to}
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain; charset=us-ascii

<{recipient}>: host mx.example.net said: 550 5.1.1 User unknown

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {recipient}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b1
Content-Type: text/rfc822-headers

{headers}

--b1--
"""


@dataclass
class Mailbox:
    """A real SMTP server that keeps what it takes."""

    mails: list[Any] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope)
        return "250 2.0.0 taken"


@pytest.fixture(scope="module")
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    mailbox, port = Mailbox(), pgsystem.any_free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield mailbox, port
    controller.stop()


@pytest.fixture(scope="module")
def stack(database: str, mailbox: tuple[Mailbox, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"host": "127.0.0.1", "port": mailbox[1], "security": "none", "return_path": "bounces@post.example"}
    account = {
        "code": "mail",
        "kind": "smtp",
        "channel": "email",
        "settings": settings,
        "credentials": {"verp_secret": "a secret of sufficient length"},
    }
    with Stack(tmp_path_factory.mktemp("mail"), database, [account]) as stack:
        yield stack


@pytest.mark.parametrize("named_by", ["return path", "Message-ID"])
def test_a_bounce_mail_ends_the_message_and_suppresses_its_recipient(
    stack: Stack, mailbox: tuple[Mailbox, int], named_by: str
):
    recipient = f"{named_by.replace(' ', '-').lower()}@example.net"
    message = stack.send("mail", recipient, sender="ops@post.example", subject="Your order")
    stack.await_status(message["id"], "sent")
    (sent,) = until(lambda: [mail for mail in mailbox[0].mails if recipient in mail.rcpt_tos], 5)
    assert sent.mail_from.startswith("bounces+")
    headers = email.message_from_bytes(sent.content)
    assert message["id"] in headers["Message-ID"]

    to = sent.mail_from if named_by == "return path" else "bounces@post.example"
    returned = f"Message-ID: {headers['Message-ID']}" if named_by == "Message-ID" else "Subject: Your order"
    mail = DSN.format(to=to, recipient=recipient, headers=returned).replace("\n", "\r\n")
    stack.run("manage.py", "ingest_mail", "--account", "mail", given=mail.encode())

    stack.await_status(message["id"], "bounced")
    told = stack.get(f"/v1/notifications/{message['id']}")
    assert told["reason"] == "hard"
    again = stack.send("mail", recipient, sender="ops@post.example")
    assert (again["status"], again["reason"], again["tracking"]["attempts"]) == ("failed", "suppressed", 0)
