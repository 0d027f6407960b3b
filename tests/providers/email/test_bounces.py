from __future__ import annotations

import time
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import BounceClass, FailureClass, ParseFailed, Receipt, ReceiptKind
from providers.email import bounces
from providers.email.smtp import Smtp
from providers.email.verp import Verp
from tests.providers.contract import ECHO, account, assert_storable, fuzz, hook

VERP = Verp("bounces@example.com", "a secret of sufficient length")
OTHER_ECHO = "0196d3a4-6b1e-7c3a-9d2f-ffffffffffff.1"
MESSAGE_ID = f"<{ECHO}@example.com>"


def report(
    kind: str,
    fields: str,
    *,
    original: str | None = f"Message-ID: {MESSAGE_ID}\nX-Postroom-Echo: {ECHO}\nSubject: Hello\n",
    to: str = "bounces@example.com",
    full: bool = False,
) -> bytes:
    """A multipart/report as a mail server writes it; `fields` is its machine-readable part."""
    parts = [
        "Content-Type: text/plain; charset=utf-8\n\nI'm sorry to have to inform you …",
        f"Content-Type: message/{kind}\n\n{fields}",
    ]
    if original is not None:
        returned = "message/rfc822" if full else "text/rfc822-headers"
        parts.append(f"Content-Type: {returned}\n\n{original}" + ("\nThe body\n" if full else ""))
    body = "".join(f"--B\n{part}\n" for part in parts)
    return f"""From: MAILER-DAEMON@mx.example.org
To: {to}
Subject: Undelivered Mail Returned to Sender
Date: Wed, 01 May 2030 12:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/report; report-type={kind}; boundary="B"

{body}--B--
""".encode()


def dsn(*recipients: str, about: str = "", **kwargs) -> bytes:
    head = f"Reporting-MTA: dns; mx.example.org\nArrival-Date: Wed, 01 May 2030 11:00:00 +0000\n{about}"
    return report("delivery-status", "\n\n".join([head.strip(), *map(str.strip, recipients)]) + "\n", **kwargs)


def recipient(
    action="failed", status="5.1.1", diagnostic="smtp; 550 5.1.1 <to@example.org>: user unknown", more=""
) -> str:
    return (
        f"Final-Recipient: rfc822; to@example.org\nAction: {action}\nStatus: {status}\n"
        f"Remote-MTA: dns; mail.example.org\nDiagnostic-Code: {diagnostic}\n{more}"
    )


def read(raw: bytes, **kwargs) -> list[Receipt]:
    found = bounces.parse(raw, verp=VERP, **kwargs)
    for receipt in found:
        assert_storable(receipt)
    return found


def one(raw: bytes, **kwargs) -> Receipt:
    (found,) = read(raw, **kwargs)
    return found


class TestDeliveryStatus:
    def test_everything(self):
        found = one(dsn(recipient(more="Last-Attempt-Date: Wed, 01 May 2030 13:59:00 +0200\n")))
        assert (found.kind, found.echo, found.reference) == (ReceiptKind.BOUNCED, ECHO, MESSAGE_ID)
        assert (found.recipient, found.word, found.code) == ("to@example.org", "failed", "550 5.1.1")
        assert (found.failure, found.bounce, found.suppress) == (
            FailureClass.INVALID_RECIPIENT,
            BounceClass.HARD,
            True,
        )
        assert found.occurred_at == datetime(2030, 5, 1, 11, 59, tzinfo=UTC)
        assert found.detail == {"reported_by": "mx.example.org", "remote": "mail.example.org"}
        assert "user unknown" in found.text

    @pytest.mark.parametrize(
        ("action", "status", "diagnostic", "kind", "failure", "bounce", "suppress"),
        [
            (
                "failed",
                "5.2.2",
                "smtp; 552 5.2.2 over quota",
                ReceiptKind.BOUNCED,
                FailureClass.TEMPORARY,
                BounceClass.SOFT,
                False,
            ),
            ("failed", "5.7.1", "smtp; 550 spam", ReceiptKind.BOUNCED, FailureClass.BLOCKED, BounceClass.BLOCK, False),
            (
                "failed",
                "4.4.7",
                "smtp; 421 expired",
                ReceiptKind.BOUNCED,
                FailureClass.PERMANENT,
                BounceClass.SOFT,
                False,
            ),
            (
                "failed",
                "5.0.0",
                "smtp; 550 5.1.1 unknown",
                ReceiptKind.BOUNCED,
                FailureClass.INVALID_RECIPIENT,
                BounceClass.HARD,
                True,
            ),
            (
                "failed",
                "5.0.0",
                "smtp; 554 blocked using dnsbl",
                ReceiptKind.BOUNCED,
                FailureClass.BLOCKED,
                BounceClass.BLOCK,
                False,
            ),
            ("failed", "", "", ReceiptKind.BOUNCED, FailureClass.TEMPORARY, BounceClass.UNDETERMINED, False),
            ("FAILED", "5.1.1", "", ReceiptKind.BOUNCED, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True),
            ("delayed", "4.2.0", "smtp; 450 greylisted", ReceiptKind.DEFERRED, None, None, False),
            ("delayed", "5.1.1", "", ReceiptKind.DEFERRED, None, None, False),
            ("delivered", "2.0.0", "smtp; 250 ok", ReceiptKind.DELIVERED, None, None, False),
            ("relayed", "2.0.0", "", ReceiptKind.ACCEPTED, None, None, False),
            ("expanded", "2.0.0", "", ReceiptKind.ACCEPTED, None, None, False),
            ("", "5.1.1", "", ReceiptKind.BOUNCED, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True),
            ("", "", "", ReceiptKind.OTHER, None, None, False),
        ],
    )
    def test_actions(self, action, status, diagnostic, kind, failure, bounce, suppress):
        found = one(dsn(recipient(action, status, diagnostic)))
        assert (found.kind, found.failure, found.bounce, found.suppress) == (kind, failure, bounce, suppress)

    def test_several_recipients(self):
        second = recipient().replace("to@", "other@").replace("Final-", "Original-")
        found = read(dsn(recipient(), second, recipient("delayed", "4.4.1", "")))
        assert [(receipt.kind, receipt.recipient) for receipt in found] == [
            (ReceiptKind.BOUNCED, "to@example.org"),
            (ReceiptKind.BOUNCED, "other@example.org"),
            (ReceiptKind.DEFERRED, "to@example.org"),
        ]
        assert {receipt.echo for receipt in found} == {ECHO}

    def test_the_original_recipient_is_ours_the_final_one_is_where_it_was_forwarded(self):
        found = one(dsn(recipient(more="Original-Recipient: rfc822;mine@example.org\n")))
        assert found.recipient == "mine@example.org"

    @pytest.mark.parametrize("full", [True, False])
    def test_the_message_comes_back_whole_or_as_headers(self, full):
        assert one(dsn(recipient(), full=full)).echo == ECHO

    def test_the_internationalised_form(self):
        raw = dsn(recipient()).replace(b"message/delivery-status", b"message/global-delivery-status")
        found = one(raw.replace(b"text/rfc822-headers", b"message/global-headers"))
        assert (found.kind, found.echo, found.bounce) == (ReceiptKind.BOUNCED, ECHO, BounceClass.HARD)

    def test_without_a_recipient_it_is_no_report(self):
        with pytest.raises(ParseFailed):
            read(report("delivery-status", "Reporting-MTA: dns; mx\n"))


class TestLink:
    FOREIGN = "Message-ID: <something@else>\n"

    def test_nothing_to_go_by(self):
        found = one(dsn(recipient(), original=None))
        assert (found.echo, found.reference) == ("", "")

    def test_another_mailers_message_id_is_a_reference_but_no_echo(self):
        found = one(dsn(recipient(), original=self.FOREIGN))
        assert (found.echo, found.reference) == ("", "<something@else>")

    def test_message_id(self):
        assert one(dsn(recipient(), original=f"Message-ID: {MESSAGE_ID}\n")).echo == ECHO

    def test_own_header(self):
        assert one(dsn(recipient(), original=f"X-Postroom-Echo: {ECHO}\n{self.FOREIGN}")).echo == ECHO

    def test_envelope_id_beats_message_id(self):
        raw = dsn(recipient(), about=f"Original-Envelope-Id: {OTHER_ECHO}\n")
        assert one(raw).echo == OTHER_ECHO

    def test_envelope_id_in_xtext(self):
        raw = dsn(recipient(), original=None, about="Original-Envelope-Id: a+2Bb+3D.1\n")
        assert one(raw).echo == "a+b=.1"

    @pytest.mark.parametrize("where", ["To", "Delivered-To", "X-Original-To", "envelope", "Return-Path"])
    def test_the_signed_return_path_beats_all(self, where):
        address = VERP.encode(OTHER_ECHO)
        original = f"Message-ID: {MESSAGE_ID}\n"
        if where == "Return-Path":
            raw = dsn(recipient(), original=f"Return-Path: <{address}>\n{original}")
        elif where == "To":
            raw = dsn(recipient(), original=original, to=f"Bounces <{address}>")
        else:
            raw = f"{where}: {address}\n".encode() + dsn(recipient(), original=original)
        given = [address] if where == "envelope" else []
        assert one(raw, envelope_recipients=given).echo == OTHER_ECHO

    def test_a_forged_return_path_names_nothing(self):
        forged = VERP.encode(ECHO).replace(ECHO, OTHER_ECHO)
        assert one(dsn(recipient(), original=None, to=forged)).echo == ""
        assert one(dsn(recipient(), original=None, to="bounces+@example.com")).echo == ""

    def test_servers_that_fold_the_local_part(self):
        assert one(dsn(recipient(), original=None, to=VERP.encode(ECHO).upper())).echo == ECHO

    @fuzz
    @given(echo=st.text(min_size=1, max_size=12))
    def test_whatever_the_echo_a_return_path_carries_it_or_is_plain(self, echo):
        address = VERP.encode(echo)
        assert len(address.rpartition("@")[0]) <= 64
        assert address.isascii() and address == address.lower()
        assert address == VERP.return_path or VERP.decode(address.upper()) == echo


def arf(word: str, more: str = "", **kwargs) -> bytes:
    fields = f"Feedback-Type: {word}\nUser-Agent: Loop/1.0\nReceived-Date: Wed, 01 May 2030 10:00:00 +0000\n{more}"
    return report("feedback-report", fields, **kwargs)


class TestFeedback:
    @pytest.mark.parametrize(
        ("word", "kind", "suppress", "known"),
        [
            ("abuse", ReceiptKind.COMPLAINED, True, True),
            ("fraud", ReceiptKind.COMPLAINED, True, True),
            ("opt-out", ReceiptKind.UNSUBSCRIBED, True, True),
            ("not-spam", ReceiptKind.OTHER, False, True),
            ("auth-failure", ReceiptKind.OTHER, False, True),
            ("novelty", ReceiptKind.OTHER, False, False),
        ],
    )
    def test_types(self, word, kind, suppress, known):
        found = one(arf(word, "Original-Rcpt-To: <to@example.org>\n"))
        assert (found.kind, found.suppress, found.known) == (kind, suppress, known)
        assert (found.echo, found.recipient, found.word) == (ECHO, "to@example.org", word)
        assert found.occurred_at == datetime(2030, 5, 1, 10, tzinfo=UTC)

    def test_several_recipients_or_none_named(self):
        named = "Original-Rcpt-To: a@example.org\nOriginal-Rcpt-To: b@example.org\n"
        assert [found.recipient for found in read(arf("abuse", named))] == ["a@example.org", "b@example.org"]
        assert one(arf("abuse", "Original-Rcpt-To: redacted\n")).recipient == ""
        assert one(arf("abuse")).recipient == ""

    def test_by_the_return_path(self):
        found = one(arf("abuse", f"Original-Mail-From: <{VERP.encode(OTHER_ECHO)}>\n", original=None))
        assert found.echo == OTHER_ECHO

    def test_without_a_type(self):
        with pytest.raises(ParseFailed):
            read(report("feedback-report", "Version: 1\n"))


class TestDisposition:
    @pytest.mark.parametrize(
        ("disposition", "kind", "machine", "known"),
        [
            ("manual-action/MDN-sent-manually; displayed", ReceiptKind.READ, False, True),
            ("automatic-action/MDN-sent-automatically; displayed", ReceiptKind.READ, True, True),
            ("manual-action/MDN-sent-manually; deleted", ReceiptKind.OTHER, False, True),
            ("manual-action/MDN-sent-manually; processed/error", ReceiptKind.OTHER, False, True),
            ("manual-action/MDN-sent-manually; eaten", ReceiptKind.OTHER, False, False),
        ],
    )
    def test_words(self, disposition, kind, machine, known):
        fields = (
            f"Final-Recipient: rfc822; to@example.org\nOriginal-Message-ID: {MESSAGE_ID}\nDisposition: {disposition}\n"
        )
        found = one(report("disposition-notification", fields, original=None))
        assert (found.kind, found.machine, found.known, found.echo) == (kind, machine, known, ECHO)
        assert (found.recipient, found.reference) == ("to@example.org", MESSAGE_ID)


def plain(
    text: str, *, subject="failure notice", sender="MAILER-DAEMON@mx.example.org", to="bounces@example.com", **headers
):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail.as_bytes()


QMAIL = f"""Hi. This is the qmail-send program at mx.example.org.
I'm afraid I wasn't able to deliver your message to the following addresses.

<to@example.org>:
198.51.100.7 does not like recipient.
Remote host said: 550 5.1.1 user unknown
Giving up on 198.51.100.7.

--- Below this line is a copy of the message.

Return-Path: <from@example.com>
Message-ID: {MESSAGE_ID}
Subject: Hello

Good day
"""
EXIM = f"""This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. The following address(es) failed:

  to@example.org
    mailbox is full

------ This is a copy of the message, including all the headers. ------

Message-ID: {MESSAGE_ID}

Good day
"""


class TestPlainWords:
    def test_qmail(self):
        found = one(plain(QMAIL))
        assert (found.kind, found.echo, found.recipient) == (ReceiptKind.BOUNCED, ECHO, "to@example.org")
        assert (found.code, found.bounce, found.suppress) == ("550 5.1.1", BounceClass.HARD, True)

    def test_exim(self):
        found = one(
            plain(
                EXIM, subject="Mail delivery failed: returning message to sender", X_Failed_Recipients="to@example.org"
            )
        )
        assert (found.echo, found.recipient, found.bounce) == (ECHO, "to@example.org", BounceClass.SOFT)

    def test_a_warning_is_no_bounce(self):
        found = one(plain("Still trying", subject="Warning: message delayed 24 hours", to=VERP.encode(ECHO)))
        assert (found.kind, found.echo) == (ReceiptKind.DEFERRED, ECHO)

    @pytest.mark.parametrize(
        "headers",
        [
            {"subject": "Out of office", "sender": "to@example.org"},
            {"subject": "Re: Hello", "sender": "to@example.org", "Auto_Submitted": "auto-replied (vacation)"},
            {"subject": "Re: Hello", "sender": "to@example.org", "X_Autoreply": "yes"},
            {"subject": "Automatic reply: Hello", "sender": "to@example.org"},
        ],
        ids=str,
    )
    def test_replies_of_machines_are_no_bounces(self, headers):
        found = one(plain("I am away", to=VERP.encode(ECHO), **headers))
        assert (found.kind, found.echo, found.known) == (ReceiptKind.OTHER, ECHO, True)
        assert read(plain("I am away", **headers)) == []

    def test_anything_else_is_kept_for_somebody_to_look_at(self):
        with pytest.raises(ParseFailed):
            read(plain("Please call me back", subject="Question", sender="to@example.org"))


class TestHostileMail:
    """Nothing but ParseFailed may come out, and soon."""

    def survives(self, raw: bytes) -> None:
        start = time.monotonic()
        try:
            for receipt in bounces.parse(raw, verp=VERP):
                assert_storable(receipt)
        except ParseFailed:
            pass
        assert time.monotonic() - start < 5

    @pytest.mark.parametrize("depth", [50, 5000])
    def test_deep_nesting(self, depth):
        head = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(depth))
        self.survives(head.encode() + dsn(recipient()))
        self.survives(b"Content-Type: message/rfc822\n\n" * depth + dsn(recipient()))

    def test_many_parts_and_many_recipients(self):
        many = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 20_000 + b"--b--"
        self.survives(many)
        assert len(read(dsn(*[recipient()] * 1000))) == bounces.MAX_RECIPIENTS

    def test_a_long_mail(self):
        assert one(dsn(recipient(), original=f"Message-ID: {MESSAGE_ID}\n\n" + "x" * 3_000_000)).echo == ECHO
        self.survives(b"A" * 3_000_000)
        self.survives(b"Subject: " + b"(" * 200_000)
        self.survives(b"To: " + b"a@b.c, " * 50_000)
        self.survives(b"To: " + b"<" * 100_000)

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"\n",
            b"\0" * 100,
            b"Content-Type: multipart/report; report-type=delivery-status\n\n",
            b"Content-Type: message/delivery-status\n\n",
            b"Content-Type: message/delivery-status\n\nAction: failed\n\n\n\n",
            b"Content-Type: message/feedback-report\n\nFeedback-Type: abuse",
            b"Content-Type: message/disposition-notification\n\nDisposition: ;",
            b"Subject: undeliverable\nContent-Type: text/plain; charset=klingon\n\n\xff\xfe 550 5.1.1",
            b"Subject: undeliverable\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!!",
            b"Subject: undeliverable \xff\xfe\nFrom: \xff\nDate: \xff\nTo: \xff\n\n\xff",
            b"Subject: undeliverable\nDate: Wed, 99 Foo 99999 99:99:99 +9999\n\nx",
            b"Content-Type: message/delivery-status\n\nAction: f\xff\nFinal-Recipient: \xff@\xff\nStatus: 5.1.1\n",
            b'Content-Type: message/delivery-status; charset="\n\n\nAction: failed\nDiagnostic-Code: =?utf-8?b?!!?=\n',
            b"Subject: undeliverable\nContent-Transfer-Encoding: base64\n\nAAAA NTUwIDUuMS4x\n",
            b"Content-Type: message/delivery-status\n\nOriginal-Envelope-Id: +00a.1\n\nAction: failed\nStatus: 5.1.1\n",
            b"Subject: =?x?y?z?= undeliverable\n\nx",
        ],
    )
    def test_odd_mails(self, raw):
        self.survives(raw)

    @fuzz
    @given(st.binary(max_size=300))
    def test_random_bytes(self, raw):
        self.survives(raw)

    @fuzz
    @given(
        st.lists(
            st.sampled_from([line for line in (dsn(recipient()) + arf("abuse") + plain(QMAIL)).split(b"\n") if line])
            | st.sampled_from([b"", b"--", b"Content-Transfer-Encoding: base64", b"\xff: \xfe"])
            | st.binary(max_size=20),
            max_size=60,
        )
    )
    def test_shuffled_lines(self, lines):
        self.survives(b"\n".join(lines))


def test_through_the_adapter():
    adapter = Smtp(account(Smtp, return_path=VERP.return_path, verp_secret=VERP.secret))
    url = f"https://postroom.example/hooks/token?recipient={VERP.encode(OTHER_ECHO).replace('+', '%2B')}"
    (found,) = adapter.parse(hook(dsn(recipient()), {"content-type": "message/rfc822"}, url=url))
    assert (found.kind, found.echo) == (ReceiptKind.BOUNCED, OTHER_ECHO)
