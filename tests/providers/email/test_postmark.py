from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import BounceClass, FailureClass, ParseFailed, ReceiptKind, VerificationFailed
from providers.email.postmark import BOUNCES, Postmark
from tests.providers.contract import (
    ECHO,
    HttpSendContract,
    account,
    assert_storable,
    failure_of,
    full_outbound,
    fuzz,
    hook,
    outbound,
)

PASSWORD = "a password of sufficient length"
MESSAGE_ID = "b7bc2f4a-e38e-4336-af7d-e6c392c2f817"


def postmark(url: str = "http://127.0.0.1:1", **settings) -> Postmark:
    given = {"server_token": "token-1", "api_url": url, "hook_username": "postmark", "hook_password": PASSWORD}
    return Postmark(account(Postmark, **(given | settings)))


class TestSend(HttpSendContract):
    provider = Postmark
    path = "/email"
    answer = {
        "To": "to@example.org",
        "SubmittedAt": "2030-05-01T12:00:00.0000000Z",
        "MessageID": MESSAGE_ID,
        "ErrorCode": 0,
        "Message": "OK",
    }
    reference = MESSAGE_ID

    def make(self, url, **settings):
        return postmark(url, **settings)

    def test_what_is_written(self, adapter, httpserver):
        httpserver.expect_request("/email").respond_with_json(self.answer)
        adapter.send(full_outbound(category="news"))
        request, _ = httpserver.log[0]
        said = json.loads(request.get_data())
        assert request.headers["X-Postmark-Server-Token"] == "token-1"
        assert said["From"] == "Sender <from@example.com>"
        assert "to@example.org" in said["To"]
        assert (said["Cc"], said["Bcc"], said["ReplyTo"]) == ("cc@example.org", "bcc@example.org", "reply@example.com")
        assert (said["Subject"], said["TextBody"]) == ("Grüße", "Good day ✓")
        assert "cid:logo" in said["HtmlBody"]
        assert {"Name": "List-Unsubscribe", "Value": "<https://example.com/u>"} in said["Headers"]
        assert said["Metadata"] == {"postroom_echo": ECHO, "order": "17"}
        assert (said["Tag"], said["MessageStream"]) == ("spring", "outbound")
        pdf, logo = said["Attachments"]
        assert (pdf["Name"], pdf["ContentType"], base64.b64decode(pdf["Content"])) == (
            "räport.pdf",
            "application/pdf",
            b"%PDF-1.7",
        )
        assert logo["ContentID"] == "cid:logo"

    @pytest.mark.parametrize(("template", "field"), [("welcome", "TemplateAlias"), ("1234", "TemplateId")])
    def test_a_template_with_variables(self, adapter, httpserver, template, field):
        httpserver.expect_request("/email/withTemplate/").respond_with_json(self.answer)
        adapter.send(outbound(subject="", text="", template_id=template, variables={"name": "Zoë"}))
        said = json.loads(httpserver.log[0][0].get_data())
        assert said[field] == (int(template) if template.isdigit() else template)
        assert said["TemplateModel"] == {"name": "Zoë"}
        assert "TextBody" not in said

    def test_metadata_beyond_what_postmark_takes_stays_here(self, adapter, httpserver):
        httpserver.expect_request("/email").respond_with_json(self.answer)
        many = {f"n{number}": number for number in range(20)}
        adapter.send(outbound(metadata={"name-of-more-than-twenty": "x", "long": "x" * 81, "nested": {"a": 1}, **many}))
        said = json.loads(httpserver.log[0][0].get_data())["Metadata"]
        assert len(said) == 10
        assert said["postroom_echo"] == ECHO
        assert said["nested"] == '{"a": 1}'

    def test_the_projects_settings_do_not_leak_in(self, adapter, httpserver, settings):
        settings.ANYMAIL = {
            "POSTMARK_SERVER_TOKEN": "global",
            "POSTMARK_MESSAGE_STREAM": "global",
            "POSTMARK_USE_BULK_API": True,
            "SEND_DEFAULTS": {"tags": ["global"], "metadata": {"global": "1"}},
            "IDNA_ENCODER": "nonsense",
        }
        httpserver.expect_request("/email").respond_with_json(self.answer)
        adapter.send(outbound())
        said = json.loads(httpserver.log[0][0].get_data())
        assert "Tag" not in said and said["Metadata"] == {"postroom_echo": ECHO}
        assert said["MessageStream"] == "outbound"

    @pytest.mark.parametrize(
        ("status", "code", "message", "failure", "suppress", "account_fault"),
        [
            (401, 10, "No Account or Server API tokens were supplied", FailureClass.PERMANENT, False, True),
            (422, 300, "Invalid 'To' address: 'nobody@'.", FailureClass.INVALID_RECIPIENT, True, False),
            (
                422,
                300,
                "Error parsing 'To': Illegal email domain 'x' in address 'a@x'.",
                FailureClass.INVALID_RECIPIENT,
                True,
                False,
            ),
            (422, 300, "Invalid 'From' address: 'x'.", FailureClass.PERMANENT, False, False),
            (422, 300, "Invalid 'Cc' address: 'x@'.", FailureClass.PERMANENT, False, False),
            (
                422,
                406,
                "You tried to send to a recipient that has been marked as inactive.\nFound inactive addresses: "
                "to@example.org.\nInactive recipients are ones that have generated a hard bounce or a spam complaint.",
                FailureClass.BLOCKED,
                True,
                False,
            ),
            (422, 400, "The 'From' address is not a Sender Signature", FailureClass.PERMANENT, False, True),
            (422, 412, "Account is pending approval", FailureClass.PERMANENT, False, True),
            (422, 1101, "Template not found", FailureClass.PERMANENT, False, False),
            (429, 429, "Rate limit exceeded", FailureClass.RATE_LIMIT, False, False),
            (503, 100, "Maintenance", FailureClass.TEMPORARY, False, False),
            (422, 99999, "Something new", FailureClass.PERMANENT, False, False),
        ],
    )
    def test_the_vendors_refusals(self, adapter, httpserver, status, code, message, failure, suppress, account_fault):
        httpserver.expect_request("/email").respond_with_json({"ErrorCode": code, "Message": message}, status=status)
        error = failure_of(adapter, outbound())
        found = error.classification
        assert (error.failure, found.suppress, found.account_fault) == (failure, suppress, account_fault)
        assert (error.code, error.text) == (str(code), message)

    def test_the_copies_were_sent_but_the_message_was_not(self, adapter, httpserver):
        said = (
            "Message OK, but will not deliver to these inactive addresses: to@example.org. Inactive recipients are "
            "ones that have generated a hard bounce or a spam complaint."
        )
        httpserver.expect_request("/email").respond_with_json(self.answer | {"Message": said})
        error = failure_of(adapter, outbound(cc=("cc@example.org",)))
        assert (error.failure, error.classification.suppress, error.code) == (FailureClass.BLOCKED, True, "406")


class TestHook:
    @staticmethod
    def basic(user: str, password: str) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    def test_genuine(self):
        postmark().verify(hook(b"{}", self.basic("postmark", PASSWORD)))
        postmark(hook_password=PASSWORD + ":ü").verify(hook(b"{}", self.basic("postmark", PASSWORD + ":ü")))

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"authorization": ""},
            {"authorization": "Basic"},
            {"authorization": "Basic !!"},
            {"authorization": "Basic \u00fc"},
            {"authorization": f"Bearer {PASSWORD}"},
            {"authorization": f"Basic postmark:{PASSWORD}"},
        ],
    )
    def test_nothing_that_counts(self, headers):
        with pytest.raises(VerificationFailed):
            postmark().verify(hook(b"{}", headers))

    @pytest.mark.parametrize(
        ("user", "password"),
        [("postmark", "x"), ("x", PASSWORD), ("", ""), ("postmark", ""), ("postmark", PASSWORD + "x")],
    )
    def test_wrong(self, user, password):
        with pytest.raises(VerificationFailed):
            postmark().verify(hook(b"{}", self.basic(user, password)))

    def test_an_account_without_them_refuses_everything(self):
        with pytest.raises(VerificationFailed):
            postmark(hook_username="", hook_password="").verify(hook(b"{}", self.basic("", "")))

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"hook_username": ""}, "hook_username"),
            ({"hook_username": "a:b"}, "hook_username"),
            ({"hook_password": ""}, "hook_password"),
            ({"hook_password": "short"}, "hook_password"),
        ],
    )
    def test_and_is_not_saved(self, change, field):
        good = {"hook_username": "u", "hook_password": PASSWORD}
        assert Postmark.check(good) == {}
        assert list(Postmark.check(good | change)) == [field]


def parse(record: str, **more):
    event = {"RecordType": record, "MessageID": MESSAGE_ID, "Metadata": {"postroom_echo": ECHO}, "Tag": "x"} | more
    (receipt,) = postmark().parse(hook(json.dumps(event).encode()))
    assert_storable(receipt)
    return receipt


class TestParse:
    def test_delivery(self):
        receipt = parse(
            "Delivery", Recipient="to@example.org", DeliveredAt="2030-05-01T14:00:00.1234567+02:00", Details="250 ok"
        )
        assert (receipt.kind, receipt.echo, receipt.reference, receipt.recipient) == (
            ReceiptKind.DELIVERED,
            ECHO,
            MESSAGE_ID,
            "to@example.org",
        )
        assert receipt.occurred_at == datetime(2030, 5, 1, 12, 0, 0, 123456, UTC)
        assert (receipt.event_id, receipt.text) == ("", "250 ok")

    def test_bounce(self):
        receipt = parse(
            "Bounce",
            ID=4323372036854775807,
            Type="HardBounce",
            TypeCode=1,
            Email="to@example.org",
            BouncedAt="2030-05-01T12:00:00Z",
            Details="smtp;550 5.1.1 user unknown",
            Description="The server was unable to deliver your message",
            Inactive=True,
        )
        assert (receipt.kind, receipt.word, receipt.event_id) == (
            ReceiptKind.BOUNCED,
            "HardBounce",
            "4323372036854775807:HardBounce",
        )
        assert (receipt.code, receipt.text) == ("550 5.1.1", "smtp;550 5.1.1 user unknown")

    @pytest.mark.parametrize(
        ("kind_of_bounce", "kind", "failure", "bounce", "suppress"),
        [
            ("HardBounce", ReceiptKind.BOUNCED, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True),
            ("SoftBounce", ReceiptKind.BOUNCED, FailureClass.TEMPORARY, BounceClass.SOFT, False),
            ("Blocked", ReceiptKind.BOUNCED, FailureClass.BLOCKED, BounceClass.BLOCK, False),
            ("DMARCPolicy", ReceiptKind.BOUNCED, FailureClass.BLOCKED, BounceClass.BLOCK, False),
            ("BadEmailAddress", ReceiptKind.BOUNCED, FailureClass.INVALID_RECIPIENT, BounceClass.HARD, True),
            ("ManuallyDeactivated", ReceiptKind.FAILED, FailureClass.BLOCKED, BounceClass.ADMIN, True),
            ("TemplateRenderingFailed", ReceiptKind.FAILED, FailureClass.PERMANENT, BounceClass.UNDETERMINED, False),
            ("Transient", ReceiptKind.DEFERRED, None, None, False),
            ("DnsError", ReceiptKind.DEFERRED, None, None, False),
            ("AutoResponder", ReceiptKind.OTHER, None, None, False),
            ("SpamComplaint", ReceiptKind.COMPLAINED, None, None, True),
            ("Unsubscribe", ReceiptKind.UNSUBSCRIBED, None, None, True),
        ],
    )
    def test_types_of_bounce(self, kind_of_bounce, kind, failure, bounce, suppress):
        receipt = parse("Bounce", Type=kind_of_bounce, ID=1)
        assert (receipt.kind, receipt.failure, receipt.bounce, receipt.suppress) == (kind, failure, bounce, suppress)
        assert receipt.known

    def test_every_type_of_bounce_that_ends_a_message_has_a_class_but_one(self):
        final = [word for word, kind in BOUNCES.items() if kind in (ReceiptKind.BOUNCED, ReceiptKind.FAILED)]
        assert [word for word in final if not parse("Bounce", Type=word).known] == ["Unknown"]

    @pytest.mark.parametrize(
        ("record", "more", "kind"),
        [
            ("SpamComplaint", {"Type": "SpamComplaint", "ID": 7}, ReceiptKind.COMPLAINED),
            ("Open", {"FirstOpen": True, "ReceivedAt": "2030-05-01T12:00:00Z"}, ReceiptKind.OPENED),
            ("Click", {"OriginalLink": "https://example.com/"}, ReceiptKind.CLICKED),
            (
                "SubscriptionChange",
                {"SuppressSending": True, "SuppressionReason": "ManualSuppression"},
                ReceiptKind.UNSUBSCRIBED,
            ),
            ("SubscriptionChange", {"SuppressSending": True, "SuppressionReason": "HardBounce"}, ReceiptKind.BOUNCED),
            (
                "SubscriptionChange",
                {"SuppressSending": True, "SuppressionReason": "SpamComplaint"},
                ReceiptKind.COMPLAINED,
            ),
            ("SubscriptionChange", {"SuppressSending": False, "SuppressionReason": None}, ReceiptKind.OTHER),
        ],
    )
    def test_records(self, record, more, kind):
        receipt = parse(record, Recipient="to@example.org", **more)
        assert (receipt.kind, receipt.known) == (kind, True)

    @pytest.mark.parametrize("more", [{"record": "Teleported"}, {"record": "Bounce", "Type": "Squishy"}])
    def test_words_that_nobody_knows(self, more):
        receipt = parse(**more)
        assert not receipt.known
        assert receipt.kind is (ReceiptKind.BOUNCED if "Type" in more else ReceiptKind.OTHER)

    def test_an_event_about_no_message(self):
        assert parse("SubscriptionChange", MessageID="00000000-0000-0000-0000-000000000000").reference == ""

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"RecordType": 1}', b"\xff", b'"x"'])
    def test_what_is_no_receipt(self, body):
        with pytest.raises(ParseFailed):
            postmark().parse(hook(body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "Type",
    "ID",
    "MessageID",
    "Metadata",
    "Details",
    "Description",
    "Email",
    "Recipient",
    "DeliveredAt",
    "Client",
)
EVENT = st.fixed_dictionaries(
    {"RecordType": st.sampled_from(["Bounce", "SubscriptionChange", "Delivery"]) | JSON},
    optional=dict.fromkeys((*FIELDS, "SuppressSending", "SuppressionReason", "OriginalLink"), JSON),
)


@fuzz
@given(body=st.binary(max_size=100) | EVENT.map(lambda event: json.dumps(event).encode()))
def test_only_parse_failed_escapes(body):
    try:
        receipts = postmark().parse(hook(body))
    except ParseFailed:
        return
    for receipt in receipts:
        assert_storable(receipt)
