"""Postmark: sending through anymail, its webhooks read here. Loaded by the registry.

Postmark signs nothing: the proof is the user name and password in the hook's address, sent as Basic authentication.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
import requests

from providers import http, signing
from providers.base import (
    Channel,
    Classification,
    HookRequest,
    Outbound,
    ParseFailed,
    Proof,
    Provider,
    ProviderError,
    Receipt,
    ReceiptKind,
    SendResult,
    Setting,
    VerificationFailed,
)
from providers.classify import classify, statuses_in
from providers.email import mime, through_anymail
from providers.email.through_anymail import ECHO
from providers.text import clean

MIN_PASSWORD = 16  # characters
MAX_METADATA, MAX_NAME, MAX_VALUE = 10, 20, 80  # Postmark refuses messages beyond these

RECORDS = {
    "Delivery": ReceiptKind.DELIVERED,
    "Bounce": ReceiptKind.BOUNCED,  # refined by BOUNCES
    "SpamComplaint": ReceiptKind.COMPLAINED,
    "Open": ReceiptKind.OPENED,
    "Click": ReceiptKind.CLICKED,
    "SubscriptionChange": ReceiptKind.OTHER,  # refined by SUPPRESSIONS
    "Inbound": ReceiptKind.OTHER,
}
BOUNCES = {
    "HardBounce": ReceiptKind.BOUNCED,
    "SoftBounce": ReceiptKind.BOUNCED,
    "Transient": ReceiptKind.DEFERRED,
    "DnsError": ReceiptKind.DEFERRED,
    "BadEmailAddress": ReceiptKind.BOUNCED,
    "Blocked": ReceiptKind.BOUNCED,
    "DMARCPolicy": ReceiptKind.BOUNCED,
    "SpamNotification": ReceiptKind.BOUNCED,
    "VirusNotification": ReceiptKind.BOUNCED,
    "Unknown": ReceiptKind.BOUNCED,
    "ManuallyDeactivated": ReceiptKind.FAILED,
    "Unconfirmed": ReceiptKind.FAILED,
    "SMTPApiError": ReceiptKind.FAILED,
    "TemplateRenderingFailed": ReceiptKind.FAILED,
    "SpamComplaint": ReceiptKind.COMPLAINED,
    "Unsubscribe": ReceiptKind.UNSUBSCRIBED,
    "Subscribe": ReceiptKind.OTHER,
    "AutoResponder": ReceiptKind.OTHER,
    "AddressChange": ReceiptKind.OTHER,
    "ChallengeVerification": ReceiptKind.OTHER,
    "OpenRelayTest": ReceiptKind.OTHER,
    "InboundError": ReceiptKind.OTHER,
}
SUPPRESSIONS = {
    "HardBounce": ReceiptKind.BOUNCED,
    "SpamComplaint": ReceiptKind.COMPLAINED,
    "ManualSuppression": ReceiptKind.UNSUBSCRIBED,
}
_TIMES = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")
_NO_MESSAGE = "00000000-0000-0000-0000-000000000000"
_BAD_RECIPIENT = re.compile(r"(Invalid|Error parsing) 'To'", re.IGNORECASE)


class Postmark(Provider):
    kind = "postmark"
    title = "Postmark"
    channels = frozenset({Channel.EMAIL})
    settings = (
        Setting("server_token", "Server token", secret=True, required=True),
        Setting("message_stream", "Message stream", default="outbound"),
        Setting("api_url", "API address", default="https://api.postmarkapp.com/"),
        Setting("sender", "Default sender", help="for messages that name none"),
        Setting("hook_username", "Hook user name", required=True, help="put both into the hook's address at Postmark"),
        Setting("hook_password", "Hook password", secret=True, required=True, rotates=True),
    )
    signature_covers = "nothing: Basic authentication over TLS"
    echoes_metadata = True

    def _get(self, name: str) -> str:
        return str(self.account.settings.get(name) or "")

    # -- sending

    def send(self, outbound: Outbound) -> SendResult:
        status = through_anymail.send(
            "anymail.backends.postmark.EmailBackend",
            outbound,
            options={
                "server_token": self._get("server_token"),
                "message_stream": self._get("message_stream") or None,
                "api_url": self._get("api_url") or "https://api.postmarkapp.com/",
                "use_bulk_api": False,
                "generate_message_id": False,
            },
            sender=outbound.sender or self._get("sender"),
            metadata=_metadata(outbound.metadata),
            tags=[*outbound.tags, *filter(None, [outbound.category])][:1],  # Postmark has one
            merge=outbound.variables,
            timeout=self.timeout,
            refused=_refused,
        )
        ((_, address),) = mime.addresses([outbound.recipient])
        found = {name.lower(): one for name, one in status.recipients.items()}
        own = found.get(address.lower())
        if own is not None and own.status == "rejected":  # the copies were sent, the message itself was not
            inactive = classify("postmark_api", code="406")
            raise ProviderError("the recipient is inactive at Postmark", classification=inactive, code="406")
        references = [one.message_id for one in found.values() if one.message_id]
        reference = own.message_id if own is not None and own.message_id else next(iter(references), "")
        return SendResult(reference=str(reference), code="0", text=own.status if own is not None else "sent")

    # -- receipts

    def verify(self, request: HookRequest) -> Proof:
        username, passwords = self._get("hook_username"), self.accepted("hook_password")
        if not (username and passwords):
            raise VerificationFailed("this account has no hook user name and password")
        given = _credentials(request.headers.get("authorization", ""))
        if not signing.same(given, [f"{username}:{password}".encode() for password in passwords]):
            raise VerificationFailed("wrong user name or password")
        return Proof()

    def parse(self, request: HookRequest) -> list[Receipt]:
        try:
            event = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise ParseFailed(f"not JSON: {error}") from error
        if not isinstance(event, dict) or not isinstance(event.get("RecordType"), str):
            raise ParseFailed("no RecordType")
        return [_receipt(event)]

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        errors = {}
        if not settings.get("hook_username") or ":" in str(settings["hook_username"]):
            errors["hook_username"] = "needed, without a colon: Postmark signs nothing, this is the only proof"
        if len(str(settings.get("hook_password") or "")) < MIN_PASSWORD:
            errors["hook_password"] = f"at least {MIN_PASSWORD} characters: Postmark signs nothing"
        return errors


def _metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """As much as Postmark takes, with room for the echo; the whole stays in Postroom."""
    plain = {
        str(name): value if isinstance(value, str) else json.dumps(value)
        for name, value in metadata.items()
        if len(str(name)) <= MAX_NAME and name != ECHO
    }
    fitting = [(name, value) for name, value in plain.items() if len(value) <= MAX_VALUE]
    return dict(fitting[: MAX_METADATA - 1])


def _refused(response: requests.Response) -> ProviderError:
    try:
        said = response.json()
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    code, text = clean(said.get("ErrorCode"), 20), clean(said.get("Message"))
    error = http.refusal("postmark_api", response.status_code, response.headers, code=code, text=text)
    if code == "300" and _BAD_RECIPIENT.match(text):
        error.classification = classify("postmark_api", code="300:recipient")
    return error


def _credentials(authorization: str) -> bytes:
    scheme, _, encoded = authorization.partition(" ")
    try:
        return base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return b""


# -- reading an event


def _receipt(event: Mapping[str, Any]) -> Receipt:
    record, word = clean(event["RecordType"], 50), _word(event)
    kind, known = _kind(record, word, event)
    final = kind in (ReceiptKind.BOUNCED, ReceiptKind.FAILED)
    text = clean(event.get("Details")) or clean(event.get("Description"))
    reply, status = statuses_in(text)
    found = classify("postmark", code=word, enhanced=status, reply=reply, text=text) if final else Classification()
    metadata = event.get("Metadata")
    reference = clean(event.get("MessageID"), 100)
    identifier = clean(event.get("ID"), 30)
    return Receipt(
        kind=kind,
        occurred_at=_time(event),
        echo=clean(metadata.get(ECHO), 200) if isinstance(metadata, dict) else "",
        reference="" if reference == _NO_MESSAGE else reference,
        recipient=clean(event.get("Recipient") or event.get("Email"), 320),
        event_id=f"{identifier}:{word}" if identifier else "",
        word=word,
        code=" ".join(filter(None, (reply, status))),
        text=text,
        failure=found.failure if final else None,
        bounce=found.bounce if final else None,
        suppress=found.suppress if final else kind in (ReceiptKind.COMPLAINED, ReceiptKind.UNSUBSCRIBED),
        known=known and found.known,
        detail=_detail(event),
    )


def _word(event: Mapping[str, Any]) -> str:
    record = clean(event["RecordType"], 50)
    if record == "SubscriptionChange":
        return clean(event.get("SuppressionReason"), 50) if event.get("SuppressSending") else "reactivated"
    return (clean(event.get("Type"), 50) if record == "Bounce" else "") or record


def _kind(record: str, word: str, event: Mapping[str, Any]) -> tuple[ReceiptKind, bool]:
    """What happened, and whether the word for it is known."""
    if record == "Bounce" and event.get("Type"):
        return BOUNCES.get(word, ReceiptKind.BOUNCED), word in BOUNCES
    if record == "SubscriptionChange" and event.get("SuppressSending"):
        return SUPPRESSIONS.get(word, ReceiptKind.OTHER), word in SUPPRESSIONS
    return RECORDS.get(record, ReceiptKind.OTHER), record in RECORDS


def _time(event: Mapping[str, Any]) -> datetime | None:
    value = next((event[name] for name in _TIMES if event.get(name)), None)
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo else None


def _detail(event: Mapping[str, Any]) -> dict[str, str]:
    client = event.get("Client")
    given = {
        "url": event.get("OriginalLink"),
        "user_agent": event.get("UserAgent"),
        "client": client.get("Name") if isinstance(client, dict) else None,
        "platform": event.get("Platform"),
    }
    return {name: text for name, value in given.items() if (text := clean(value, 255))}
