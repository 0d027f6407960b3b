"""The carrier's receipts on the wire: JSON, signed with HMAC-SHA256 over `timestamp.body`. Both sides stand here, so
that the carrier (`sign`) and the adapter (`verify`, `parse`) cannot drift apart. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from providers import signing
from providers.base import Classification, HookRequest, ParseFailed, Receipt, ReceiptKind, VerificationFailed
from providers.classify import classify
from providers.sandbox.ledger import Handover

VOCABULARY: Mapping[str, ReceiptKind] = {
    "accepted": ReceiptKind.ACCEPTED,
    "deferred": ReceiptKind.DEFERRED,
    "delivered": ReceiptKind.DELIVERED,
    "bounced": ReceiptKind.BOUNCED,
    "soft_bounced": ReceiptKind.BOUNCED,
    "blocked": ReceiptKind.BOUNCED,
    "expired": ReceiptKind.FAILED,
    "opened": ReceiptKind.OPENED,
    "machine_opened": ReceiptKind.OPENED,
    "clicked": ReceiptKind.CLICKED,
    "read": ReceiptKind.READ,
    "complained": ReceiptKind.COMPLAINED,
    "unsubscribed": ReceiptKind.UNSUBSCRIBED,
    "unknown": ReceiptKind.OTHER,
}
FINAL_FAULTS = frozenset({ReceiptKind.BOUNCED, ReceiptKind.FAILED})
TIMESTAMP_HEADER = "X-Sandbox-Timestamp"
SIGNATURE_HEADER = "X-Sandbox-Signature"
TOLERANCE = 300  # seconds


def event(
    handover: Handover, *, number: str, word: str, moment: float, code: str = "", text: str = ""
) -> dict[str, str]:
    """One receipt as it goes over the wire. `moment` is in seconds since the epoch."""
    return {
        "id": f"{handover.reference}-{number}",
        "type": word,
        "at": datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds"),
        "echo": handover.echo,
        "reference": handover.reference,
        "recipient": handover.recipient,
        "code": code,
        "text": text,
    }


def sign(secret: str, body: bytes, timestamp: int) -> dict[str, str]:
    return {TIMESTAMP_HEADER: str(timestamp), SIGNATURE_HEADER: _signature(secret, body, str(timestamp))}


def verify(secrets: Sequence[str], request: HookRequest) -> None:
    """Raises VerificationFailed."""
    timestamp = request.headers.get(TIMESTAMP_HEADER.lower(), "")
    signature = request.headers.get(SIGNATURE_HEADER.lower(), "")
    if not secrets:
        raise VerificationFailed("the account has no hook secret")
    wanted = [_signature(secret, request.body, timestamp).encode() for secret in secrets]
    if not signing.same(signature.encode(), wanted):
        raise VerificationFailed("wrong signature")
    if not timestamp.isdecimal() or abs(request.received_at.timestamp() - int(timestamp)) > TOLERANCE:
        raise VerificationFailed("the signature is too old")


def _signature(secret: str, body: bytes, timestamp: str) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def parse(request: HookRequest) -> list[Receipt]:
    """Raises ParseFailed."""
    try:
        return [receipt_of(event) for event in orjson.loads(request.body)["events"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ParseFailed(f"not the sandbox's receipts: {error!r}") from error


def receipt_of(event: Mapping[str, Any]) -> Receipt:
    """One event in Postroom's words. Raises KeyError, TypeError or ValueError on what is no event."""
    word, code, text = str(event["type"]), str(event.get("code", "")), str(event.get("text", ""))
    kind = VOCABULARY.get(word, VOCABULARY["unknown"])
    fault = classify("sandbox", enhanced=code, text=text) if kind in FINAL_FAULTS else Classification()
    return Receipt(
        kind=kind,
        occurred_at=_aware(event["at"]),
        echo=str(event.get("echo", "")),
        reference=str(event.get("reference", "")),
        recipient=str(event.get("recipient", "")),
        event_id=str(event["id"]),
        word=word,
        code=code,
        text=text,
        failure=fault.failure if kind in FINAL_FAULTS else None,
        bounce=fault.bounce if kind is ReceiptKind.BOUNCED else None,
        suppress=fault.suppress,
        machine=word == "machine_opened",
        known=word in VOCABULARY and word != "unknown" and fault.known,
    )


def _aware(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment
