from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import os
import socket
import threading
import time
from dataclasses import dataclass, field

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from config import pgsystem
from providers.base import BounceClass, Channel, FailureClass, ProviderError, VerificationFailed
from providers.email import smtp_connection
from providers.email.smtp import Smtp
from providers.email.verp import Verp
from tests.providers.contract import ECHO, ProviderContract, account, failure_of, full_outbound, hook, outbound
from tests.providers.servers import certificate, tcp_server, tls_context

SECRET = "a secret of sufficient length"


@dataclass
class Sink:
    """An aiosmtpd handler that answers as told and keeps what it accepted."""

    answers: dict[str, str] = field(default_factory=dict)  # by address, or by "DATA"
    envelopes: list = field(default_factory=list)
    connections: set = field(default_factory=set)
    helo: str = ""
    pipelining: bool = False

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = self.helo = hostname
        self.connections.add(session.peer)
        return [*responses[:-1], "250-PIPELINING", responses[-1]] if self.pipelining else responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        if address in self.answers:
            return self.answers[address]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if "DATA" not in self.answers:
            self.envelopes.append(envelope)
        return self.answers.get("DATA", "250 2.0.0 queued as 1A2B")


class Server(Controller):
    smtp_settings: dict = {}

    def factory(self):
        return SMTP(self.handler, enable_SMTPUTF8=True, **self.smtp_settings)


@contextlib.contextmanager
def running(sink: Sink, **smtp_settings):
    server = Server(sink, hostname="127.0.0.1", port=pgsystem.any_free_port())
    server.smtp_settings = smtp_settings
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def nothing_kept_between_tests():
    yield
    smtp_connection.close_all()


@pytest.fixture(params=[False, True], ids=["one by one", "pipelining"])
def sink(request) -> Sink:
    return Sink(pipelining=request.param)


@pytest.fixture
def port(sink):
    with running(sink) as found:
        yield found


def smtp(port: int, **settings) -> Smtp:
    return Smtp(account(Smtp, **({"host": "127.0.0.1", "port": port, "security": "none"} | settings)))


def parsed(sink: Sink, number: int = -1):
    return email.message_from_bytes(sink.envelopes[number].content, policy=email.policy.default)


class TestContract(ProviderContract):
    provider = Smtp


class TestMessage:
    def test_everything_arrives(self, port, sink):
        result = smtp(port, message_id_domain="id.example.com").send(full_outbound())
        assert result.reference == f"<{ECHO}@id.example.com>"
        assert (result.code, result.text) == ("250", "250 2.0.0 queued as 1A2B")
        envelope, message = sink.envelopes[0], parsed(sink)
        assert envelope.mail_from == "from@example.com"
        assert envelope.rcpt_tos == ["to@example.org", "cc@example.org", "bcc@example.org"]
        assert str(message["To"]) == "Zoë <to@example.org>"
        assert message["Subject"] == "Grüße"
        assert message["Cc"] == "cc@example.org"
        assert message["Reply-To"] == "reply@example.com"
        assert message["Message-ID"] == result.reference
        assert message["List-Unsubscribe"] == "<https://example.com/u>"
        assert message["X-Postroom-Echo"] == ECHO
        assert message["Date"]
        assert "bcc@example.org" not in str(message)
        assert message.get_body(("plain",)).get_content().strip() == "Good day ✓"
        assert "cid:logo" in message.get_body(("html",)).get_content()
        kinds = [part.get_content_type() for part in message.walk()]
        assert kinds == [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "image/png",
            "application/pdf",
        ]
        pdf = next(message.iter_attachments())
        assert (pdf.get_filename(), pdf.get_content()) == ("räport.pdf", b"%PDF-1.7")

    @pytest.mark.parametrize(
        "text", ["", "a\x0cb\x1cc", "x" * 5000, "a\r\nb\rc\n\n", "\n", "Zoë\n" * 300, "=20", "a\tb  ", "From me\n"]
    )
    def test_whatever_the_text_it_arrives_as_it_was(self, port, sink, text):
        smtp(port).send(outbound(text=text))
        wanted = text.replace("\r\n", "\n").replace("\r", "\n")
        wanted += "" if wanted.endswith("\n") else "\n"
        assert parsed(sink).get_content().replace("\r\n", "\n") == wanted
        assert max(map(len, sink.envelopes[0].content.split(b"\r\n"))) <= 998

    @pytest.mark.parametrize(
        "name", ["Plain Name", "Doe, Jane", 'The "Best"', "J. Doe", "Zoë", "a@b", "", "O'Neil", "x" * 200, "(comment)"]
    )
    def test_whatever_the_name_it_arrives_as_it_was(self, port, sink, name):
        quoted = name.replace('"', '\\"')
        smtp(port).send(outbound(recipient=f'"{quoted}" <to@example.org>'))
        (address,) = parsed(sink)["To"].addresses
        assert (address.display_name, address.addr_spec) == (name, "to@example.org")

    def test_lines_that_begin_with_a_dot(self, port, sink):
        smtp(port).send(outbound(text=".\r\n..two\n.three\nend."))
        assert parsed(sink).get_content().replace("\r", "") == ".\n..two\n.three\nend.\n"

    def test_signed_return_path(self, port, sink):
        settings = {"return_path": "bounces@example.com", "verp_secret": SECRET}
        smtp(port, **settings).send(outbound())
        address = sink.envelopes[0].mail_from
        assert address.startswith(f"bounces+{ECHO}-") and address.endswith("@example.com")
        assert Verp("bounces@example.com", SECRET).decode(address) == ECHO
        assert Verp("bounces@example.com", SECRET + "!").decode(address) == ""
        assert Verp("bounces@example.com", SECRET).decode(address.replace(".2-", ".3-")) == ""

    def test_default_sender_and_helo(self, port, sink):
        smtp(port, sender="Post <post@example.com>", helo="me.example.com").send(outbound(sender=""))
        assert (sink.envelopes[0].mail_from, sink.helo) == ("post@example.com", "me.example.com")

    def test_addresses_beyond_ascii(self, port, sink):
        smtp(port).send(outbound(recipient="jürgen@straße.example"))
        assert sink.envelopes[0].rcpt_tos == ["jürgen@xn--strae-oqa.example"]
        assert "SMTPUTF8" in sink.envelopes[0].mail_options
        smtp(port).send(outbound(recipient="juergen@straße.example"))
        assert "SMTPUTF8" not in sink.envelopes[1].mail_options

    @pytest.mark.parametrize(
        "bad",
        [
            {"recipient": "a@b\r\nRCPT TO:<x@y>"},
            {"recipient": "two@example.org, three@example.org"},
            {"recipient": "nobody"},
            {"sender": ""},
            {"subject": "Hello\r\nBcc: evil@example.org"},
            {"headers": {"X-A": "b\nBcc: evil@example.org"}},
            {"headers": {"X-A: b\r\nBcc": "evil@example.org"}},
            {"headers": {"Bcc": "evil@example.org"}},
            {"headers": {"Content-Type": "text/evil"}},
            {"sender": "=?utf-8?q?a?=\r\n <a@example.com>\r\nX: y"},
            {"text": "\ud800"},
            {"text": "", "template_id": "welcome"},
            {"recipient": "a@-.-"},
        ],
        ids=str,
    )
    def test_what_cannot_be_written_as_mail_fails_for_good(self, port, sink, bad):
        if bad == {"recipient": "a@-.-"}:
            sink.answers["a@-.-"] = "553 5.1.3 bad"
        error = failure_of(smtp(port), outbound(**bad))
        assert error.failure in {FailureClass.PERMANENT, FailureClass.INVALID_RECIPIENT}
        assert sink.envelopes == []

    def test_too_large_for_the_server(self, sink):
        with running(sink, data_size_limit=1000) as port:
            error = failure_of(smtp(port), outbound(text="x " * 2000))
        assert (error.failure, error.classification.bounce) == (FailureClass.PERMANENT, BounceClass.SOFT)


class TestRefusals:
    @pytest.mark.parametrize(
        ("stage", "reply", "failure", "suppress", "account_fault", "code"),
        [
            ("to@example.org", "550 5.1.1 no such user", FailureClass.INVALID_RECIPIENT, True, False, "550 5.1.1"),
            ("to@example.org", "550 no such user", FailureClass.INVALID_RECIPIENT, True, False, "550"),
            ("to@example.org", "450 4.7.1 greylisted", FailureClass.TEMPORARY, False, False, "450 4.7.1"),
            ("to@example.org", "451 local error", FailureClass.TEMPORARY, False, False, "451"),
            ("to@example.org", "550 5.7.1 spam", FailureClass.BLOCKED, False, False, "550 5.7.1"),
            ("to@example.org", "452 4.5.3 too many", FailureClass.RATE_LIMIT, False, False, "452 4.5.3"),
            ("from@example.com", "550 go away", FailureClass.PERMANENT, False, True, "550"),
            ("from@example.com", "553 5.1.8 bad sender", FailureClass.PERMANENT, False, True, "553 5.1.8"),
            ("from@example.com", "451 4.3.0 later", FailureClass.TEMPORARY, False, False, "451 4.3.0"),
            ("DATA", "550 we do not like it", FailureClass.PERMANENT, False, False, "550"),
            ("DATA", "552 5.3.4 too big", FailureClass.PERMANENT, False, False, "552 5.3.4"),
            ("DATA", "451 4.3.0 disk", FailureClass.TEMPORARY, False, False, "451 4.3.0"),
            ("DATA", "550 5.1.1 unknown after all", FailureClass.INVALID_RECIPIENT, True, False, "550 5.1.1"),
        ],
    )
    def test_classes(self, port, sink, stage, reply, failure, suppress, account_fault, code):
        sink.answers[stage] = reply
        error = failure_of(smtp(port), outbound())
        found = error.classification
        assert (error.failure, found.suppress, found.account_fault) == (failure, suppress, account_fault)
        assert (error.code, error.text) == (code, reply)

    def test_a_refusal_leaves_the_connection_in_use(self, port, sink):
        sink.answers["no@example.org"] = "550 5.1.1 no"
        adapter = smtp(port)
        adapter.send(outbound())
        failure_of(adapter, outbound(recipient="no@example.org"))
        adapter.send(outbound())
        assert (len(sink.connections), len(sink.envelopes)) == (1, 2)

    def test_a_refused_copy_does_not_stop_the_message(self, port, sink):
        sink.answers["cc@example.org"] = "550 5.1.1 no such copy"
        result = smtp(port).send(outbound(cc=("cc@example.org",)))
        assert sink.envelopes[0].rcpt_tos == ["to@example.org"]
        assert "cc@example.org: 550 5.1.1 no such copy" in result.text

    def test_a_refused_recipient_beside_a_willing_copy_gets_nothing_sent(self, port, sink):
        """A server that takes commands in advance has said 354 by then."""
        sink.answers["to@example.org"] = "550 5.1.1 no such user"
        adapter = smtp(port)
        assert failure_of(adapter, outbound(cc=("cc@example.org",))).code == "550 5.1.1"
        sink.answers.clear()
        adapter.send(outbound())
        assert [envelope.rcpt_tos for envelope in sink.envelopes] == [["to@example.org"]]

    def test_421_closes_the_connection(self, port, sink):
        adapter = smtp(port)
        adapter.send(outbound())
        sink.answers["to@example.org"] = "421 4.7.0 too many"
        assert failure_of(adapter, outbound()).failure is FailureClass.RATE_LIMIT
        sink.answers.clear()
        adapter.send(outbound())
        assert len(sink.connections) == 2


class TestKeptConnections:
    def test_one_for_many_messages_and_one_for_each_account_and_thread(self, port, sink):
        for _ in range(3):
            smtp(port).send(outbound())
        assert len(sink.connections) == 1
        smtp(port, helo="other.example.com").send(outbound())
        assert len(sink.connections) == 2
        thread = threading.Thread(target=lambda: smtp(port).send(outbound()))
        thread.start()
        thread.join(10)
        assert (len(sink.connections), len(sink.envelopes)) == (3, 5)

    def test_a_forked_child_does_not_use_its_parents(self, port, sink, monkeypatch):
        smtp(port).send(outbound())
        monkeypatch.setattr(os, "getpid", lambda: -1)
        smtp(port).send(outbound())
        assert len(sink.connections) == 2

    def test_a_server_that_closed_it_meanwhile(self, sink):
        with running(sink) as port:
            smtp(port).send(outbound())
        server = Server(sink, hostname="127.0.0.1", port=port)  # the same address, started anew
        server.start()
        try:
            smtp(port).send(outbound())
        finally:
            server.stop()
        assert len(sink.envelopes) == 2

    def test_one_that_idled_too_long_or_carried_enough(self, port, sink, monkeypatch):
        smtp(port).send(outbound())
        monkeypatch.setattr(smtp_connection, "MAX_IDLE", 0)
        smtp(port).send(outbound())
        assert len(sink.connections) == 2
        monkeypatch.setattr(smtp_connection, "MAX_IDLE", 60)
        monkeypatch.setattr(smtp_connection, "MAX_MESSAGES", 1)
        smtp(port).send(outbound())
        assert len(sink.connections) == 3


class Script:
    """An SMTP server that breaks off at a stage, on the connections named; it counts the contents that it saw end."""

    def __init__(self, breaks: dict[int, str], *, hang: bool = False) -> None:
        self.breaks, self.hang = breaks, hang
        self.connections = self.contents = 0

    def __call__(self, sock: socket.socket) -> None:
        self.connections += 1
        stop = self.breaks.get(self.connections, "")
        lines = sock.makefile("rb")
        if self._breaks(stop, "CONNECT", sock):
            return
        sock.sendall(b"220 ready\r\n")
        messages = 0
        for line in lines:
            verb = line[:4].strip().decode().upper()
            if self._breaks(stop, f"{verb}{messages + 1}", sock):
                return
            if verb == "DATA":
                sock.sendall(b"354 go on\r\n")
                if self._breaks(stop, f"CONTENT{messages + 1}", sock):
                    return
                while lines.readline() not in (b".\r\n", b""):
                    pass
                self.contents += 1
                messages += 1
                if self._breaks(stop, f"END{messages}", sock):
                    return
                if stop == f"JUNK{messages}":
                    sock.sendall(b"HTTP/1.1 200 OK\r\n")
                    return
            sock.sendall(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")

    def _breaks(self, stop: str, stage: str, sock: socket.socket) -> bool:
        if stop != stage:
            return False
        if self.hang:
            while sock.recv(65536):
                pass
        return True


class TestBrokenConversations:
    BEFORE = ("CONNECT", "EHLO1", "MAIL1", "RCPT1", "DATA1")

    @pytest.mark.parametrize("stage", BEFORE)
    def test_dropped_before_the_content_on_a_new_connection(self, stage):
        script = Script({1: stage, 2: stage})
        with tcp_server(script) as port:
            assert failure_of(smtp(port), outbound()).failure is FailureClass.TEMPORARY
        assert script.contents == 0

    @pytest.mark.parametrize("stage", BEFORE)
    def test_silent_before_the_content(self, stage):
        with tcp_server(Script({1: stage}, hang=True)) as port:
            adapter = smtp(port)
            adapter.timeout = 0.4
            start = time.monotonic()
            assert failure_of(adapter, outbound()).failure is FailureClass.TIMEOUT
            assert time.monotonic() - start < 5

    @pytest.mark.parametrize("stage", ["MAIL2", "RCPT2", "DATA2"])
    def test_a_kept_connection_that_dies_before_the_content_is_replaced_once(self, stage):
        script = Script({1: stage})
        with tcp_server(script) as port:
            adapter = smtp(port)
            adapter.send(outbound())
            adapter.send(outbound())
            smtp_connection.close_all()
        assert (script.connections, script.contents) == (2, 2)

    def test_but_only_once(self):
        script = Script({1: "MAIL2", 2: "MAIL1"})
        with tcp_server(script) as port:
            adapter = smtp(port)
            adapter.send(outbound())
            assert failure_of(adapter, outbound()).failure is FailureClass.TEMPORARY
        assert (script.connections, script.contents) == (2, 1)

    @pytest.mark.parametrize("hang", [False, True])
    @pytest.mark.parametrize("number", [1, 2])
    def test_no_reply_after_the_end_of_the_content_is_never_sent_again(self, number, hang):
        script = Script({1: f"END{number}"}, hang=hang)
        with tcp_server(script) as port:
            adapter = smtp(port)
            if number == 2:
                adapter.send(outbound())
            adapter.timeout = 0.4
            assert failure_of(adapter, outbound()).failure is FailureClass.AMBIGUOUS
        assert (script.connections, script.contents) == (1, number)

    def test_a_reply_that_is_no_smtp(self):
        with tcp_server(Script({1: "JUNK1"})) as port:
            assert failure_of(smtp(port), outbound()).failure is FailureClass.AMBIGUOUS

    def test_dropped_in_the_middle_of_the_content(self):
        """The end never left: nothing was accepted, and it is safe to try again."""
        script = Script({1: "CONTENT1"})
        with tcp_server(script) as port:
            error = failure_of(smtp(port), outbound(text="x" * 8_000_000))
        assert error.failure is FailureClass.TEMPORARY
        assert script.contents == 0

    def test_nothing_listens(self):
        assert failure_of(smtp(pgsystem.any_free_port()), outbound()).failure is FailureClass.TEMPORARY

    def test_no_such_host(self):
        assert failure_of(smtp(25, host="nothing.invalid"), outbound()).failure is FailureClass.TEMPORARY

    @pytest.mark.parametrize(
        ("greeting", "failure", "account_fault"),
        [
            (b"554 5.7.1 blocked\r\n", FailureClass.PERMANENT, True),
            (b"421 4.7.0 busy\r\n", FailureClass.RATE_LIMIT, False),
        ],
    )
    def test_turned_away_at_the_door(self, greeting, failure, account_fault):
        with tcp_server(lambda sock: sock.sendall(greeting)) as port:
            error = failure_of(smtp(port), outbound())
        assert (error.failure, error.classification.account_fault) == (failure, account_fault)
        assert not error.classification.suppress


class TestSecurity:
    @pytest.fixture
    def trusted(self, tmp_path):
        pem, key = certificate()
        return pem, tls_context(tmp_path, pem, key)

    def authenticator(self, server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"user", b"pass")
        return AuthResult(success=good, handled=good or False)

    def test_starttls_and_login(self, sink, trusted):
        pem, context = trusted
        settings = {"tls_context": context, "require_starttls": True, "auth_required": True}
        with running(sink, **settings, authenticator=self.authenticator) as port:
            common = {"host": "localhost", "security": "starttls", "authority": pem}
            smtp(port, **common, username="user", password="pass").send(outbound())
            wrong = failure_of(smtp(port, **common, username="user", password="wrong"), outbound())
            without = failure_of(smtp(port, **common), outbound())
        assert len(sink.envelopes) == 1
        for error in (wrong, without):
            assert (error.failure, error.classification.account_fault) == (FailureClass.PERMANENT, True)

    def test_tls_from_the_start(self, sink, trusted):
        pem, context = trusted
        server = Controller(sink, hostname="127.0.0.1", port=pgsystem.any_free_port(), ssl_context=context)
        server.ssl_context = context
        server.start()
        try:
            adapter = smtp(server.port, host="localhost", security="tls", authority=pem)
            adapter.send(outbound())
            adapter.send(outbound())
        finally:
            server.stop()
        assert (len(sink.envelopes), len(sink.connections)) == (2, 1)

    @pytest.mark.parametrize("name", ["localhost", "elsewhere.example"])
    def test_a_certificate_that_does_not_hold(self, sink, tmp_path, name):
        """Nobody vouches for the first; the second is vouched for, but is another host's."""
        pem, key = certificate(name)
        with running(sink, tls_context=tls_context(tmp_path, pem, key)) as port:
            authority = pem if name != "localhost" else ""
            error = failure_of(smtp(port, host="localhost", security="starttls", authority=authority), outbound())
        assert (error.failure, error.classification.account_fault) == (FailureClass.TEMPORARY, True)
        assert sink.envelopes == []

    def test_a_server_without_starttls_gets_nothing(self, port, sink):
        error = failure_of(smtp(port, security="starttls"), outbound())
        assert (error.failure, error.classification.account_fault) == (FailureClass.PERMANENT, True)
        assert sink.envelopes == []


class TestHook:
    @pytest.mark.parametrize("scheme", ["bearer", "basic"])
    def test_the_secret_is_the_proof(self, scheme):
        adapter = smtp(25, hook_secret=SECRET)

        def credentials(secret: str) -> dict[str, str]:
            basic = base64.b64encode(f"any:{secret}".encode()).decode()
            return {"authorization": f"Bearer {secret}" if scheme == "bearer" else f"Basic {basic}"}

        adapter.verify(hook(b"mail", credentials(SECRET)))
        for headers in (credentials(SECRET + "x"), credentials(""), {"authorization": "Basic ??"}, {}):
            with pytest.raises(VerificationFailed):
                adapter.verify(hook(b"mail", headers))

    def test_without_a_secret_the_hook_is_closed(self):
        for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Basic Og=="}):
            with pytest.raises(VerificationFailed):
                smtp(25).verify(hook(b"mail", headers))


class TestCheck:
    GOOD = {"host": "mx.example.com", "return_path": "bounces@example.com", "verp_secret": SECRET}

    def test_good(self):
        assert Smtp.check(self.GOOD) == {}

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"verp_secret": ""}, "verp_secret"),
            ({"verp_secret": "short"}, "verp_secret"),
            ({"hook_secret": "short"}, "hook_secret"),
            ({"return_path": "bounces"}, "return_path"),
            ({"sender": "a@b\r\nX: y"}, "sender"),
            ({"username": "u"}, "password"),
        ],
    )
    def test_bad(self, change, field):
        assert list(Smtp.check(self.GOOD | change)) == [field]


def test_the_channel_is_email_only():
    assert Smtp.channels == {Channel.EMAIL}
    with pytest.raises(ProviderError):
        smtp(pgsystem.any_free_port()).send(outbound())
