"""What we sign is what the standard says: checked by a verifier written after its text, by nothing of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest

from tracking import signing_out

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def verified(headers: dict[str, str], body: bytes, whsec: str) -> bool:
    """standard-webhooks.md: base64 of HMAC-SHA256 over `id.timestamp.body`, with the bytes behind whsec_ as the key;
    the header is a list of `v1,<signature>`, of which one must fit."""
    key = base64.b64decode(whsec.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    offered = [entry.split(",", 1) for entry in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(value, wanted) for version, value in offered)


def signed(*secrets: str, body: bytes = b"{}") -> dict[str, str]:
    return dict(signing_out.headers(secrets, identifier="an-id", at=AT, body=body))


@pytest.mark.parametrize(
    "secret", ["your_webhook_secret", "x", "a secret with spaces", "ключ", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
)
def test_any_text_is_a_secret(secret):
    whsec = signing_out.whsec_of(secret)
    found = signed(secret)
    assert verified(found, b"{}", whsec)
    assert not verified(found, b"{ }", whsec)
    assert not verified({**found, "webhook-timestamp": "1"}, b"{}", whsec)
    assert not verified({**found, "webhook-id": "another"}, b"{}", whsec)
    assert found["webhook-timestamp"] == str(int(AT.timestamp()))


def test_the_example_of_the_standard():
    """From its text: the signature of this body under this key."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    at = datetime.fromtimestamp(1614265330, UTC)
    found = signing_out.headers([secret], identifier="msg_p5jXN8AQM9LWM0D4loKWxJek", at=at, body=body)
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_during_a_rotation_both_secrets_verify():
    found = signed("new", "old")
    assert verified(found, b"{}", signing_out.whsec_of("new"))
    assert verified(found, b"{}", signing_out.whsec_of("old"))
    assert not verified(found, b"{}", signing_out.whsec_of("older"))


def test_the_header_of_chatapi():
    wanted = hmac.new(b"your_webhook_secret", b'{"a": 1}', "sha256").hexdigest()
    assert signed("your_webhook_secret", "old", body=b'{"a": 1}')["X-ChatAPI-Signature"] == f"sha256={wanted}"


@pytest.mark.parametrize(
    ("secret", "wrong"),
    [
        ("anything", False),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", False),
        ("whsec_", True),
        ("whsec_!!", True),
        ("whsec_YWJj", True),
    ],
)
def test_secrets_that_claim_to_be_of_the_standard(secret, wrong):
    assert bool(signing_out.fault(secret)) is wrong
