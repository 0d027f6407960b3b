from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import BounceClass, FailureClass, ParseFailed, ReceiptKind
from providers.email.mailgun import MAX_AGE, Mailgun
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

KEY, OLD_KEY = "signing-key", "signing-key-of-last-year"
FORM = "application/x-www-form-urlencoded"


def mailgun(url: str = "http://127.0.0.1:1", **settings) -> Mailgun:
    given = {"api_key": "key-1", "sender_domain": "mg.example.com", "api_url": url, "webhook_signing_key": KEY}
    return Mailgun(account(Mailgun, **(given | settings)))


def signature(at: datetime = NOW, key: str = KEY, token: str = "t" * 50) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    made = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    return {"timestamp": timestamp, "token": token, "signature": made}


def form_fields(request) -> dict[str, list]:
    """What a multipart or urlencoded request to the vendor says."""
    found: dict[str, list] = {name: list(values) for name, values in request.form.lists()}
    for name, files in request.files.lists():
        found[name] = [(one.filename, one.mimetype, one.read()) for one in files]
    return found


class TestSend(HttpSendContract):
    provider = Mailgun
    path = "/v3/mg.example.com/messages"
    answer = {"id": "<20300501.1@mg.example.com>", "message": "Queued. Thank you."}
    reference = "<20300501.1@mg.example.com>"

    def make(self, url, **settings):
        return mailgun(f"{url}/v3", **settings)

    def sent(self, adapter, httpserver, message) -> dict[str, list]:
        seen = []
        httpserver.expect_request(self.path, method="POST").respond_with_handler(
            lambda request: seen.append((request.authorization, form_fields(request))) or json_response(self.answer)
        )
        adapter.send(message)
        ((authorization, fields),) = seen
        assert (authorization.username, authorization.password) == ("api", "key-1")
        return fields

    def test_what_is_written(self, adapter, httpserver):
        said = self.sent(adapter, httpserver, full_outbound(category="news"))
        assert said["from"] == ["Sender <from@example.com>"]
        assert "to@example.org" in said["to"][0]
        assert (said["cc"], said["bcc"]) == (["cc@example.org"], ["bcc@example.org"])
        assert said["subject"] == ["Grüße"]
        assert said["text"] == ["Good day ✓"]
        assert "cid:logo" in said["html"][0]
        assert said["h:Reply-To"] == ["reply@example.com"]
        assert said["h:List-Unsubscribe"] == ["<https://example.com/u>"]
        assert said["v:postroom_echo"] == [ECHO]
        assert said["v:order"] == ["17"]
        assert said["o:tag"] == ["spring"]
        assert said["attachment"] == [("räport.pdf", "application/pdf", b"%PDF-1.7")]
        assert said["inline"] == [("logo", "image/png", b"\x89PNG")]

    def test_a_template_with_variables(self, adapter, httpserver):
        message = outbound(
            text="", template_id="welcome", variables={"name": "Zoë", "items": [1, {"a": 2}]}, category="c"
        )
        said = self.sent(adapter, httpserver, message)
        assert said["template"] == ["welcome"]
        assert json.loads(said["t:variables"][0]) == {"name": "Zoë", "items": [1, {"a": 2}]}
        assert said["o:tag"] == ["c"]
        assert "recipient-variables" not in said

    def test_only_html(self, adapter, httpserver):
        said = self.sent(adapter, httpserver, outbound(text="", html="<p>x</p>"))
        assert said["html"] == ["<p>x</p>"] and "text" not in said

    def test_the_projects_settings_do_not_leak_in(self, adapter, httpserver, settings):
        settings.ANYMAIL = {
            "MAILGUN_API_KEY": "global",
            "MAILGUN_API_URL": "http://127.0.0.1:1/",
            "SEND_DEFAULTS": {"tags": ["global"], "metadata": {"global": "1"}},
            "MAILGUN_SEND_DEFAULTS": {"track_opens": True},
        }
        said = self.sent(adapter, httpserver, outbound())
        assert "o:tag" not in said and "v:global" not in said and "o:tracking-opens" not in said

    @pytest.mark.parametrize(
        ("status", "message", "failure", "suppress", "account_fault"),
        [
            (
                400,
                "'to' parameter is not a valid address. please check documentation",
                FailureClass.INVALID_RECIPIENT,
                True,
                False,
            ),
            (400, "'from' parameter is not a valid address", FailureClass.PERMANENT, False, False),
            (401, "Forbidden", FailureClass.PERMANENT, False, True),
            (402, "Payment required", FailureClass.PERMANENT, False, True),
            (404, "Domain not found: mg.example.com", FailureClass.PERMANENT, False, True),
            (413, "Request Entity Too Large", FailureClass.PERMANENT, False, False),
            (429, "Too many requests", FailureClass.RATE_LIMIT, False, False),
        ],
    )
    def test_the_vendors_refusals(self, adapter, httpserver, status, message, failure, suppress, account_fault):
        httpserver.expect_request(self.path).respond_with_json({"message": message}, status=status)
        error = failure_of(adapter, outbound())
        found = error.classification
        assert (error.failure, found.suppress, found.account_fault) == (failure, suppress, account_fault)
        assert (error.code, error.text) == (str(status), message)

    @pytest.mark.parametrize(
        "bad",
        [
            {"recipient": "nobody"},
            {"recipient": "a@example.org\r\nBcc: x@example.org"},
            {"subject": "a\r\nBcc: x@example.org"},
            {"headers": {"X-A": "b\r\nc"}},
            {"headers": {"Bcc": "x@example.org"}},
            {"sender": "", "text": "x"},
            {"text": "\ud800"},
        ],
        ids=str,
    )
    def test_what_cannot_be_sent_is_not_tried(self, adapter, httpserver, bad):
        assert failure_of(adapter, outbound(**bad)).failure is FailureClass.PERMANENT
        assert httpserver.log == []

    def test_a_slash_in_the_domain_is_the_accounts_fault_or_final(self, httpserver):
        adapter = self.make(httpserver.url_for("").rstrip("/"), sender_domain="a/b")
        assert failure_of(adapter, outbound()).failure is FailureClass.PERMANENT
        assert httpserver.log == []


def json_response(value):
    from werkzeug import Response

    return Response(json.dumps(value), mimetype="application/json")


def event(word: str = "delivered", **more) -> dict:
    return {
        "event": word,
        "id": "CPgfbmQMTCKtHW6uIWtuVe",
        "timestamp": NOW.timestamp() + 0.5,
        "recipient": "to@example.org",
        "message": {"headers": {"message-id": "20300501.1@mg.example.com"}},
        "user-variables": {"postroom_echo": ECHO, "order": "17"},
    } | more


def posted(data: dict, **kwargs):
    body = json.dumps({"signature": signature(**kwargs), "event-data": data}).encode()
    return hook(body, {"content-type": "application/json"})


class TestHook(SignedHookContract):
    provider = Mailgun

    def hooked(self):
        return mailgun()

    def signed(self, *, at=NOW, secret=""):
        return posted(event(), at=at, key=secret or KEY)

    def unsigned(self):
        return hook(json.dumps({"event-data": event()}).encode(), {"content-type": "application/json"})

    def tampered(self):
        body = json.loads(self.signed().body)
        body["signature"]["token"] = "u" * 50
        return hook(json.dumps(body).encode(), {"content-type": "application/json"})

    def test_the_token_is_to_be_taken_once(self):
        assert mailgun().verify(self.signed()).nonce == "t" * 50

    def test_retries_for_as_long_as_mailgun_goes_on(self):
        mailgun().verify(self.signed(at=NOW - timedelta(seconds=MAX_AGE)))
        self._refuses(self.signed(at=NOW - timedelta(seconds=MAX_AGE + 1)))
        self._refuses(self.signed(at=NOW + timedelta(seconds=301)))

    def test_the_previous_key_while_it_is_changed(self):
        mailgun(webhook_signing_key_previous=OLD_KEY).verify(self.signed(secret=OLD_KEY))
        self._refuses(self.signed(secret=OLD_KEY))

    def test_form_posts(self):
        fields = {"event": "opened", **signature()}
        assert mailgun().verify(hook(urlencode(fields).encode(), {"content-type": FORM})).nonce == "t" * 50
        self._refuses(hook(urlencode(fields | {"token": "x"}).encode(), {"content-type": FORM}))
        self._refuses(hook(b"", {"content-type": FORM}))
        self._refuses(hook(b"\xff" * 10, {"content-type": "multipart/form-data"}))

    @pytest.mark.parametrize(
        "block", [None, [], "x", {"timestamp": [], "token": {}, "signature": 1}, {"timestamp": "²"}]
    )
    def test_odd_signatures(self, block):
        self._refuses(hook(json.dumps({"signature": block}).encode(), {"content-type": "application/json"}))


def parse(data: dict):
    (receipt,) = mailgun().parse(posted(data))
    assert_storable(receipt)
    return receipt


def failed(severity="permanent", reason="bounce", **status):
    return event("failed", severity=severity, reason=reason, **{"delivery-status": status})


class TestParse:
    def test_delivered(self):
        receipt = parse(event())
        assert (receipt.kind, receipt.echo, receipt.reference, receipt.recipient) == (
            ReceiptKind.DELIVERED,
            ECHO,
            "<20300501.1@mg.example.com>",
            "to@example.org",
        )
        assert receipt.occurred_at == NOW + timedelta(seconds=0.5)
        assert receipt.event_id == "CPgfbmQMTCKtHW6uIWtuVe:2030-05-01"

    @pytest.mark.parametrize(
        ("data", "kind", "failure", "bounce", "suppress"),
        [
            (
                failed(code=550, **{"enhanced-code": "5.1.1", "message": "no such user"}),
                ReceiptKind.BOUNCED,
                FailureClass.INVALID_RECIPIENT,
                BounceClass.HARD,
                True,
            ),
            (
                failed(code=550, message="5.1.1 no such user"),
                ReceiptKind.BOUNCED,
                FailureClass.INVALID_RECIPIENT,
                BounceClass.HARD,
                True,
            ),
            (
                failed(code=552, **{"enhanced-code": "5.2.2", "message": "full"}),
                ReceiptKind.BOUNCED,
                FailureClass.TEMPORARY,
                BounceClass.SOFT,
                False,
            ),
            (
                failed(code=554, **{"enhanced-code": "5.7.1", "message": "spam"}),
                ReceiptKind.BOUNCED,
                FailureClass.BLOCKED,
                BounceClass.BLOCK,
                False,
            ),
            (failed(), ReceiptKind.BOUNCED, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True),
            (
                failed(reason="suppress-bounce", code=605),
                ReceiptKind.FAILED,
                FailureClass.INVALID_RECIPIENT,
                BounceClass.HARD,
                True,
            ),
            (failed(reason="suppress-unsubscribe"), ReceiptKind.FAILED, FailureClass.BLOCKED, BounceClass.ADMIN, True),
            (failed(reason="suppress-complaint"), ReceiptKind.FAILED, FailureClass.BLOCKED, BounceClass.BLOCK, True),
            (failed(reason="old", code=602), ReceiptKind.FAILED, FailureClass.PERMANENT, BounceClass.SOFT, False),
            (
                failed(severity="temporary", code=421, message="421 4.7.0 later"),
                ReceiptKind.DEFERRED,
                None,
                None,
                False,
            ),
            (
                event("rejected", reject={"reason": "virus"}),
                ReceiptKind.FAILED,
                FailureClass.BLOCKED,
                BounceClass.BLOCK,
                False,
            ),
            (event("complained"), ReceiptKind.COMPLAINED, None, None, True),
            (event("unsubscribed"), ReceiptKind.UNSUBSCRIBED, None, None, True),
            (event("accepted"), ReceiptKind.ACCEPTED, None, None, False),
        ],
    )
    def test_classes(self, data, kind, failure, bounce, suppress):
        receipt = parse(data)
        assert (receipt.kind, receipt.failure, receipt.bounce, receipt.suppress) == (kind, failure, bounce, suppress)
        assert receipt.known

    def test_a_failure_that_nothing_explains_says_so(self):
        receipt = parse(failed(reason="generic"))
        assert (receipt.kind, receipt.bounce, receipt.known) == (ReceiptKind.BOUNCED, BounceClass.UNDETERMINED, False)

    @pytest.mark.parametrize(
        ("client", "machine"),
        [
            ({"client-type": "browser", "bot": ""}, False),
            ({"client-type": "browser", "bot": "apple"}, True),
            ({"client-type": "robot"}, True),
            ({}, False),
        ],
    )
    def test_opens_by_machines(self, client, machine):
        receipt = parse(event("opened", **{"client-info": client | {"user-agent": "Mozilla/5.0"}, "ip": "203.0.113.4"}))
        assert (receipt.kind, receipt.machine) == (ReceiptKind.OPENED, machine)
        assert receipt.detail == {"ip": "203.0.113.4", "user_agent": "Mozilla/5.0"}

    def test_clicks_say_where_to(self):
        assert parse(event("clicked", url="https://example.com/a")).detail["url"] == "https://example.com/a"

    def test_words_that_nobody_knows(self):
        receipt = parse(event("teleported"))
        assert (receipt.kind, receipt.known, receipt.word) == (ReceiptKind.OTHER, False, "teleported")

    @pytest.mark.parametrize("multipart", [False, True])
    def test_form_posts(self, multipart):
        fields = {
            "event": "bounced",
            "recipient": "to@example.org",
            "code": "550",
            "error": "5.1.1 The email account does not exist",
            "Message-Id": "<20300501.1@mg.example.com>",
            "message-headers": json.dumps([["To", "x"], ["X-Mailgun-Variables", json.dumps({"postroom_echo": ECHO})]]),
            **signature(),
        }
        body, kind = urlencode(fields).encode(), FORM
        if multipart:
            kind = "multipart/form-data; boundary=B"
            parts = [f'--B\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
            body = ("".join(parts) + "--B--\r\n").encode()
        (receipt,) = mailgun().parse(hook(body, {"content-type": kind}))
        assert (receipt.kind, receipt.echo, receipt.reference) == (
            ReceiptKind.BOUNCED,
            ECHO,
            "<20300501.1@mg.example.com>",
        )
        assert (receipt.bounce, receipt.suppress, receipt.occurred_at) == (BounceClass.HARD, True, NOW)

    def test_form_posts_with_the_echo_as_a_field(self):
        fields = {"event": "opened", "recipient": "to@example.org", "postroom_echo": ECHO, **signature()}
        (receipt,) = mailgun().parse(hook(urlencode(fields).encode(), {"content-type": FORM}))
        assert (receipt.kind, receipt.echo) == (ReceiptKind.OPENED, ECHO)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"event-data": 1}', b'{"event-data": {}}', b"\xff"])
    def test_what_is_no_receipt(self, body):
        for kind in ("application/json", FORM, "multipart/form-data; boundary=x", ""):
            with pytest.raises(ParseFailed):
                mailgun().parse(hook(body, {"content-type": kind}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
STATUS = st.fixed_dictionaries({}, optional=dict.fromkeys(("code", "enhanced-code", "message", "description"), JSON))
EVENT = st.fixed_dictionaries(
    {"event": st.sampled_from(["failed", "delivered", "opened", "rejected"]) | JSON},
    optional=dict.fromkeys(
        ("id", "timestamp", "recipient", "severity", "reason", "message", "url", "ip", "reject"), JSON
    )
    | {"delivery-status": STATUS | JSON, "user-variables": JSON, "client-info": JSON},
)


@fuzz
@given(
    body=st.binary(max_size=100) | EVENT.map(lambda data: json.dumps({"event-data": data}).encode()), form=st.booleans()
)
def test_only_parse_failed_escapes(body, form):
    try:
        receipts = mailgun().parse(hook(body, {"content-type": FORM if form else "application/json"}))
    except ParseFailed:
        return
    for receipt in receipts:
        assert_storable(receipt)


def test_an_account_without_its_signing_key_is_refused():
    assert list(Mailgun.check({"api_key": "k"})) == ["webhook_signing_key"]
    assert Mailgun.check({"webhook_signing_key": "k"}) == {}
