from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import re
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import signing
from providers.base import BounceClass, Channel, FailureClass, ParseFailed, ReceiptKind
from providers.gateway import HttpGateway
from providers.gateway_events import MAX_EVENTS
from tests.providers.contract import (
    ECHO,
    NOW,
    HttpSendContract,
    SignedHookContract,
    account,
    assert_storable,
    failure_of,
    full_outbound,
    fuzz,
    hook,
    outbound,
)

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()


def gateway(url: str = "http://127.0.0.1:1", **settings) -> HttpGateway:
    return HttpGateway(account(HttpGateway, **({"url": url, "secret": SECRET, "allow_private": True} | settings)))


class TestSend(HttpSendContract):
    provider = HttpGateway
    path = "/send"
    answer = {"id": "g-1"}
    reference = "g-1"

    def make(self, url, **settings):
        return gateway(f"{url}/send", **settings)

    def test_what_is_written(self, adapter, httpserver):
        httpserver.expect_request("/send").respond_with_json(
            {"id": 17, "message": "queued", "parts": 2, "cost": "0.075"}, status=202
        )
        result = adapter.send(full_outbound(data={"a": [1]}, variables={"name": "Zoë"}, category="news"))
        assert (result.reference, result.text, result.parts, result.cost) == ("17", "queued", 2, Decimal("0.075"))
        request, _ = httpserver.log[0]
        said = json.loads(request.get_data())
        assert said["type"] == "message"
        assert (said["echo"], said["idempotency_key"], said["channel"]) == (ECHO, "key-1", "email")
        assert (said["recipient"], said["cc"], said["bcc"]) == (
            "Zoë <to@example.org>",
            ["cc@example.org"],
            ["bcc@example.org"],
        )
        assert said["attachments"][1] == {
            "filename": "logo.png",
            "content_type": "image/png",
            "content": base64.b64encode(b"\x89PNG").decode(),
            "inline_id": "logo",
        }
        assert (said["data"], said["variables"], said["metadata"]) == ({"a": [1]}, {"name": "Zoë"}, {"order": 17})
        assert request.headers["Idempotency-Key"] == request.headers["webhook-id"] == "key-1"

    @pytest.mark.parametrize("previous", ["", OTHER])
    def test_the_signature_is_that_of_standard_webhooks(self, httpserver, previous):
        httpserver.expect_request("/send").respond_with_json({"id": "1"})
        self.make(httpserver.url_for("").rstrip("/"), secret_previous=previous).send(outbound())
        request, _ = httpserver.log[0]
        timestamp = request.headers["webhook-timestamp"]
        assert abs(int(timestamp) - datetime.now(UTC).timestamp()) < 60
        signed = f"key-1.{timestamp}.".encode() + request.get_data()
        keys = [b"k" * 32, b"o" * 32] if previous else [b"k" * 32]
        expected = ["v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
        assert request.headers["webhook-signature"].split() == expected

    @pytest.mark.parametrize("channel", list(Channel))
    def test_every_channel(self, adapter, httpserver, channel):
        httpserver.expect_request("/send").respond_with_json({"id": "1"})
        adapter.send(outbound(channel=channel, recipient="+4915112345678"))
        assert json.loads(httpserver.log[0][0].get_data())["channel"] == channel

    @pytest.mark.parametrize(
        ("status", "said", "failure", "bounce", "suppress", "code"),
        [
            (
                422,
                {"class": "invalid_recipient", "code": "E7"},
                FailureClass.INVALID_RECIPIENT,
                BounceClass.HARD,
                True,
                "E7",
            ),
            (400, {"class": "blocked"}, FailureClass.BLOCKED, BounceClass.BLOCK, False, "400"),
            (
                500,
                {"class": "permanent", "message": "no"},
                FailureClass.PERMANENT,
                BounceClass.UNDETERMINED,
                False,
                "500",
            ),
            (500, {"class": "ambiguous"}, FailureClass.AMBIGUOUS, BounceClass.UNDETERMINED, False, "500"),
            (400, {"message": "550 5.1.1 no such user"}, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True, "400"),
            (400, {"class": "nonsense"}, FailureClass.PERMANENT, BounceClass.UNDETERMINED, False, "400"),
            (418, [], FailureClass.TEMPORARY, BounceClass.UNDETERMINED, False, "418"),
        ],
    )
    def test_the_gateways_own_words(self, adapter, httpserver, status, said, failure, bounce, suppress, code):
        httpserver.expect_request("/send").respond_with_json(said, status=status)
        error = failure_of(adapter, outbound())
        found = error.classification
        assert (found.failure, found.bounce, found.suppress, error.code) == (failure, bounce, suppress, code)

    def test_private_addresses_only_where_allowed(self, httpserver):
        httpserver.expect_request("/send").respond_with_json({"id": "1"})
        error = failure_of(gateway(httpserver.url_for("/send"), allow_private=False), outbound())
        assert (error.failure, error.classification.account_fault) == (FailureClass.PERMANENT, True)
        assert httpserver.log == []

    def test_a_message_that_is_no_json(self, adapter):
        assert failure_of(adapter, outbound(text="\ud800")).failure is FailureClass.PERMANENT


class TestPoll:
    def test_unknown_there(self, httpserver):
        httpserver.expect_request("/status", query_string={"key": "key-1", "echo": ECHO, "id": ""}).respond_with_json(
            {"known": False}, status=404
        )
        assert gateway(status_url=httpserver.url_for("/status")).poll(outbound(), "") == []

    def test_known_there(self, httpserver):
        events = [{"type": "delivered", "occurred_at": "2030-05-01T12:00:00Z", "echo": ECHO}]
        httpserver.expect_request("/status").respond_with_json({"id": "g-1", "events": events})
        found = gateway(status_url=httpserver.url_for("/status")).poll(outbound(), "")
        assert [(one.kind, one.echo) for one in found] == [(ReceiptKind.ACCEPTED, ECHO), (ReceiptKind.DELIVERED, ECHO)]
        assert found[0].reference == "g-1"
        assert "webhook-signature" in httpserver.log[0][0].headers

    @pytest.mark.parametrize("status", [404, 500, 401])
    def test_an_error_is_not_an_answer(self, httpserver, status):
        httpserver.expect_request("/status").respond_with_data("nothing here", status=status)
        with pytest.raises(Exception, match="HTTP"):
            gateway(status_url=httpserver.url_for("/status")).poll(outbound(), "")

    def test_only_where_there_is_an_address(self):
        assert not gateway().can_be_asked
        assert gateway(status_url="https://example.com/").can_be_asked

    def test_idempotency_is_the_accounts_to_say(self):
        assert gateway().takes_idempotency_key
        assert not gateway(idempotent=False).takes_idempotency_key


class TestHook(SignedHookContract):
    provider = HttpGateway
    BODY = json.dumps({"events": []}).encode()

    def hooked(self):
        return gateway(secret_previous=OTHER)

    def signed(self, *, at=NOW, secret=""):
        return hook(self.BODY, signing.headers([secret or SECRET], identifier="e1", at=at, body=self.BODY))

    def unsigned(self):
        return hook(self.BODY, {"webhook-id": "e1", "webhook-timestamp": str(int(NOW.timestamp()))})

    def tampered(self):
        return hook(self.BODY + b" ", self.signed().headers)

    def test_tampered_id_and_time(self):
        for change in ({"webhook-id": "e2"}, {"webhook-timestamp": str(int(NOW.timestamp()) + 1)}):
            self._refuses(hook(self.BODY, {**self.signed().headers, **change}))

    @pytest.mark.parametrize("timestamp", ["", "now", "-1", "²", "9" * 40, "1.5"])
    def test_odd_timestamps(self, timestamp):
        self._refuses(hook(self.BODY, {**self.signed().headers, "webhook-timestamp": timestamp}))

    def test_two_secrets_are_valid_at_once(self):
        self.hooked().verify(self.signed(secret=OTHER))
        both = signing.headers([OTHER, base64.b64encode(b"x" * 24).decode()], identifier="e", at=NOW, body=self.BODY)
        self.hooked().verify(hook(self.BODY, both))

    def test_the_published_vector(self):
        body = b'{"test": 2432232314}'
        headers = {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }
        at = datetime.fromtimestamp(1614265330, UTC)
        signing.verify(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], given=headers, body=body, now=at)


def parse(*events, **more):
    return gateway().parse(hook(json.dumps({"events": list(events), **more}).encode()))


class TestParse:
    def test_everything(self):
        (receipt,) = parse(
            {
                "id": "ev-1",
                "type": "bounced",
                "occurred_at": "2030-05-01T14:00:00+02:00",
                "echo": ECHO,
                "reference": "g-1",
                "recipient": "to@example.org",
                "code": "E7",
                "text": "no such user",
                "bounce": "hard",
                "detail": {"host": "mx.example.org", "tries": 3},
            }
        )
        assert (receipt.kind, receipt.occurred_at, receipt.echo, receipt.reference) == (
            ReceiptKind.BOUNCED,
            NOW,
            ECHO,
            "g-1",
        )
        assert (receipt.event_id, receipt.recipient, receipt.word, receipt.code, receipt.text) == (
            "ev-1",
            "to@example.org",
            "bounced",
            "E7",
            "no such user",
        )
        assert (receipt.bounce, receipt.failure, receipt.suppress) == (
            BounceClass.HARD,
            FailureClass.INVALID_RECIPIENT,
            True,
        )
        assert receipt.detail == {"host": "mx.example.org", "tries": "3"}

    @pytest.mark.parametrize("kind", [kind for kind in ReceiptKind if kind is not ReceiptKind.OTHER])
    def test_every_kind(self, kind):
        (receipt,) = parse({"type": kind.value, "echo": ECHO, "code": "5.1.1"})
        assert (receipt.kind, receipt.known) == (kind, True)
        assert (receipt.failure is None) == (kind not in (ReceiptKind.BOUNCED, ReceiptKind.FAILED))

    @pytest.mark.parametrize(
        ("said", "failure", "bounce", "suppress", "known"),
        [
            ({"code": "5.1.1"}, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True, True),
            ({"text": "552 5.2.2 mailbox full"}, FailureClass.TEMPORARY, BounceClass.SOFT, False, True),
            ({"class": "blocked"}, FailureClass.BLOCKED, BounceClass.BLOCK, False, True),
            ({"class": "invalid_recipient"}, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True, True),
            ({"class": "permanent", "suppress": True}, FailureClass.PERMANENT, BounceClass.UNDETERMINED, True, True),
            ({"bounce": "soft", "code": "5.1.1"}, FailureClass.INVALID_RECIPIENT, BounceClass.SOFT, False, True),
            ({}, FailureClass.TEMPORARY, BounceClass.UNDETERMINED, False, False),
        ],
    )
    def test_classes(self, said, failure, bounce, suppress, known):
        (receipt,) = parse({"type": "bounced", "echo": ECHO, **said})
        assert (receipt.failure, receipt.bounce, receipt.suppress, receipt.known) == (failure, bounce, suppress, known)

    def test_words_that_nobody_knows(self):
        (receipt,) = parse({"type": "teleported", "echo": ECHO})
        assert (receipt.kind, receipt.known, receipt.word) == (ReceiptKind.OTHER, False, "teleported")

    def test_one_bad_event_does_not_take_the_others_with_it(self):
        good = {"type": "delivered", "echo": ECHO, "occurred_at": 1903953600}
        bad = [
            {},
            7,
            {"type": "delivered", "occurred_at": "yesterday"},
            {"type": "delivered", "occurred_at": "2030-05-01T12:00:00"},
            {"type": "delivered", "occurred_at": 1e300},
            {"type": "bounced", "bounce": "squishy"},
            {"type": "bounced", "class": ["blocked"]},
        ]
        receipts = parse(good, *bad, good)
        assert [receipt.kind for receipt in receipts] == [
            ReceiptKind.DELIVERED,
            *[ReceiptKind.OTHER] * 7,
            ReceiptKind.DELIVERED,
        ]
        assert receipts[0].occurred_at == datetime.fromtimestamp(1903953600, UTC)
        assert not any(receipt.known for receipt in receipts[1:-1])

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b'{"events": {}}', b'{"events": [1]}', b"\xff"])
    def test_what_is_no_receipt(self, body):
        with pytest.raises(ParseFailed):
            gateway().parse(hook(body))

    def test_a_thousand_and_no_more(self):
        assert len(parse(*[{"type": "delivered"}] * MAX_EVENTS)) == MAX_EVENTS
        with pytest.raises(ParseFailed):
            parse(*[{"type": "delivered"}] * (MAX_EVENTS + 1))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("id", "type", "occurred_at", "echo", "reference", "recipient", "code", "text", "bounce", "class", "suppress")
EVENT = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(FIELDS, JSON) | {"type": st.sampled_from([kind.value for kind in ReceiptKind]) | JSON},
)


@fuzz
@given(
    body=st.binary(max_size=200) | st.lists(EVENT | JSON, max_size=4).map(lambda e: json.dumps({"events": e}).encode())
)
def test_only_parse_failed_escapes(body):
    try:
        for receipt in gateway().parse(hook(body)):
            assert_storable(receipt)
    except ParseFailed:
        pass


class TestCheck:
    GOOD = {"url": "https://gateway.example.com/send", "secret": SECRET}

    def test_good(self):
        assert HttpGateway.check(self.GOOD) == {}
        assert HttpGateway.check(self.GOOD | {"url": "http://10.0.0.1/", "allow_private": True}) == {}

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"secret": ""}, "secret"),
            ({"secret": "whsec_c2hvcnQ="}, "secret"),
            ({"secret": "not base64!"}, "secret"),
            ({"url": "http://gateway.example.com/"}, "url"),
            ({"url": "https://user:pass@gateway.example.com/"}, "url"),
            ({"url": "ftp://gateway.example.com/", "allow_private": True}, "url"),
            ({"status_url": "gateway"}, "status_url"),
        ],
    )
    def test_bad(self, change, field):
        assert list(HttpGateway.check(self.GOOD | change)) == [field]


def test_the_example_in_the_documentation(httpserver, monkeypatch):
    """Run as it stands: it takes a key once, refuses a forgery, and reports what we accept."""
    text = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.setenv("GATEWAY_SECRET", SECRET)
    monkeypatch.setenv("HOOK_URL", httpserver.url_for("/hook"))
    httpserver.expect_oneshot_request("/hook").respond_with_data("")
    example: dict = {}
    exec(compile(source, "providers.md", "exec"), example)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), example["Gateway"])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        with httpserver.wait(timeout=10):
            first, second = gateway(url).send(outbound()), gateway(url).send(outbound())
        assert first.reference == second.reference
        assert failure_of(gateway(url, secret=OTHER), outbound()).classification.account_fault
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
    (request, _) = httpserver.log[0]
    received = hook(request.get_data(), {k.lower(): v for k, v in request.headers}, received_at=datetime.now(UTC))
    gateway().verify(received)
    (receipt,) = gateway().parse(received)
    assert (receipt.kind, receipt.echo) == (ReceiptKind.DELIVERED, ECHO)
    assert len(httpserver.log) == 1
