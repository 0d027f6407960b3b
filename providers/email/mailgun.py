"""Mailgun: sending through anymail, its webhooks read here. Loaded by the registry.

Mailgun signs a time and a token, not the body: the token must be taken once only, which the returned Proof asks for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
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
from providers.email import mailgun_form, through_anymail
from providers.email.through_anymail import ECHO
from providers.text import clean

# A failed webhook is sent again for 8 hours, possibly under its first signature; the token is what stops a replay.
MAX_AGE = 9 * 3600  # seconds
MAX_AHEAD = 300  # seconds by which the two clocks may differ
MAX_TAGS = 10

EVENTS = {
    "accepted": ReceiptKind.ACCEPTED,
    "delivered": ReceiptKind.DELIVERED,
    "failed": ReceiptKind.BOUNCED,  # or deferred, or failed: see _kind
    "rejected": ReceiptKind.FAILED,
    "opened": ReceiptKind.OPENED,
    "clicked": ReceiptKind.CLICKED,
    "unsubscribed": ReceiptKind.UNSUBSCRIBED,
    "complained": ReceiptKind.COMPLAINED,
    "stored": ReceiptKind.OTHER,
    # The form posts of before 2018 have two words of their own.
    "bounced": ReceiptKind.BOUNCED,
    "dropped": ReceiptKind.FAILED,
}
# Where Mailgun gave up by itself, no server refused the message.
_NOT_TRIED = frozenset({"suppress-bounce", "suppress-complaint", "suppress-unsubscribe", "old"})
_OWN_CODES = frozenset({"498", "499", "605", "606", "607"})  # in the place of an SMTP reply


class Mailgun(Provider):
    kind = "mailgun"
    title = "Mailgun"
    channels = frozenset({Channel.EMAIL})
    settings = (
        Setting("api_key", "API key", secret=True, required=True),
        Setting("sender_domain", "Sending domain", required=True),
        Setting(
            "api_url",
            "API address",
            default="https://api.mailgun.net/v3",
            help="https://api.eu.mailgun.net/v3 for domains in the EU",
        ),
        Setting("sender", "Default sender", help="for messages that name none"),
        Setting("webhook_signing_key", "Webhook signing key", secret=True, required=True, rotates=True),
    )
    signature_covers = "time and token, not the body; each token is taken once"
    echoes_metadata = True

    def _get(self, name: str) -> str:
        return str(self.account.settings.get(name) or "")

    # -- sending

    def send(self, outbound: Outbound) -> SendResult:
        extra = {"t:variables": _json(outbound.variables)} if outbound.template_id and outbound.variables else None
        status = through_anymail.send(
            "anymail.backends.mailgun.EmailBackend",
            outbound,
            options={
                "api_key": self._get("api_key"),
                "sender_domain": self._get("sender_domain"),
                "api_url": self._get("api_url") or "https://api.mailgun.net/v3",
            },
            sender=outbound.sender or self._get("sender"),
            metadata={str(name): _plain(value) for name, value in outbound.metadata.items() if name != ECHO},
            tags=list(outbound.tags or filter(None, [outbound.category]))[:MAX_TAGS],
            extra=extra,
            timeout=self.timeout,
            refused=_refused,
        )
        return SendResult(reference=_bracketed(str(status.message_id or "")), code="200", text="queued")

    # -- receipts

    def verify(self, request: HookRequest) -> Proof:
        timestamp, token, signature = _signature_of(request)
        keys = self.accepted("webhook_signing_key")
        if not (keys and token and timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
            raise VerificationFailed("unsigned")
        age = request.received_at.timestamp() - int(timestamp)
        if not -MAX_AHEAD <= age <= MAX_AGE:
            raise VerificationFailed("signed too long ago, or in the future")
        wanted = [hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest() for key in keys]
        if not signing.same(signature.encode(), [one.encode() for one in wanted]):
            raise VerificationFailed("wrong signature")
        return Proof(nonce=token)

    def parse(self, request: HookRequest) -> list[Receipt]:
        event = mailgun_form.event(mailgun_form.read(request)) if _is_form(request) else _json_event(request.body)
        word = clean(event.get("event"), 100)
        if not word:
            raise ParseFailed("no event")
        return [_receipt(word, event)]

    @classmethod
    def new_secret(cls, name: str) -> str:
        return ""  # Mailgun makes it: it is copied from there

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        if not settings.get("webhook_signing_key"):
            return {"webhook_signing_key": "needed: without it receipts cannot be told from forgeries"}
        return {}


def _refused(response: requests.Response) -> ProviderError:
    try:
        said = response.json()
    except ValueError:
        said = None
    text = clean(said.get("message")) if isinstance(said, dict) else ""
    return http.refusal("mailgun", response.status_code, response.headers, text=text)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _bracketed(message_id: str) -> str:
    return message_id if not message_id or message_id.startswith("<") else f"<{message_id}>"


# -- reading a request


def _is_form(request: HookRequest) -> bool:
    return "form" in request.headers.get("content-type", "").partition(";")[0]


def _signature_of(request: HookRequest) -> tuple[str, str, str]:
    """(timestamp, token, signature), as text whatever they are."""
    try:
        given: Any = (
            mailgun_form.read(request)
            if _is_form(request)
            else _object(_object(orjson.loads(request.body))["signature"])
        )
        timestamp, token, signature = (clean(given[name], 200) for name in ("timestamp", "token", "signature"))
    except (ParseFailed, ValueError, KeyError) as error:
        raise VerificationFailed("unsigned") from error
    return timestamp, token, signature


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ParseFailed("not an object")
    return value


def _json_event(body: bytes) -> dict[str, Any]:
    try:
        return _object(_object(orjson.loads(body)).get("event-data"))
    except orjson.JSONDecodeError as error:
        raise ParseFailed(f"not JSON: {error}") from error


def _inner(event: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The object at this path, or an empty one where anything else stands there."""
    for name in names:
        found = event.get(name)
        event = found if isinstance(found, dict) else {}
    return dict(event)


def _receipt(word: str, event: Mapping[str, Any]) -> Receipt:
    at = _time(event.get("timestamp"))
    client, variables = _inner(event, "client-info"), _inner(event, "user-variables")
    reply, status, text, found = _failure(event)
    kind = _kind(word, event)
    final = kind in (ReceiptKind.BOUNCED, ReceiptKind.FAILED)
    identifier = clean(event.get("id"), 100)
    return Receipt(
        kind=kind,
        occurred_at=at,
        echo=clean(variables.get(ECHO), 200),
        reference=_bracketed(clean(_inner(event, "message", "headers").get("message-id"), 500)),
        recipient=clean(event.get("recipient"), 320),
        event_id=f"{identifier}:{at:%Y-%m-%d}" if identifier and at else "",  # unique within a day only
        word=_word(word, event),
        code=" ".join(filter(None, (reply, status))),
        text=text,
        failure=found.failure if final else None,
        bounce=found.bounce if final else None,
        suppress=found.suppress if final else kind in (ReceiptKind.COMPLAINED, ReceiptKind.UNSUBSCRIBED),
        machine=bool(client.get("bot")) or client.get("client-type") == "robot",
        known=word in EVENTS and (found.known or not final),
        detail=_detail(event, client),
    )


def _kind(word: str, event: Mapping[str, Any]) -> ReceiptKind:
    if word == "failed" and event.get("severity") == "temporary":
        return ReceiptKind.DEFERRED
    if word == "failed" and clean(event.get("reason")) in _NOT_TRIED:
        return ReceiptKind.FAILED
    return EVENTS.get(word, ReceiptKind.OTHER)


def _word(word: str, event: Mapping[str, Any]) -> str:
    parts = (word, clean(event.get("severity"), 30), clean(event.get("reason"), 60))
    return " ".join(filter(None, parts))


def _failure(event: Mapping[str, Any]) -> tuple[str, str, str, Classification]:
    """(reply, enhanced status, text, class). The vendor's own reason counts where it says that nothing was tried;
    otherwise the server's answer says more than "bounce" does."""
    told, reason = _inner(event, "delivery-status"), clean(event.get("reason"), 60)
    code, status = clean(told.get("code"), 10), clean(told.get("enhanced-code"), 20)
    reject = clean(_inner(event, "reject").get("reason"))
    text = clean(told.get("message")) or clean(told.get("description")) or reject
    found_reply, found_status = statuses_in(text)
    reply = found_reply if code in _OWN_CODES or not code.isdigit() else code
    own = code if code in _OWN_CODES else reason if reason in _NOT_TRIED else "rejected" if reject else ""
    found = classify("mailgun", code=own, enhanced=status or found_status, reply=reply, text=text)
    if not found.known:
        found = classify("mailgun", code=reason)
    return code, status or found_status, text, found


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(value), UTC) if not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _detail(event: Mapping[str, Any], client: Mapping[str, Any]) -> dict[str, str]:
    given = {
        "url": event.get("url"),
        "ip": event.get("ip"),
        "user_agent": client.get("user-agent"),
        "client": client.get("client-name"),
        "host": _inner(event, "delivery-status").get("mx-host"),
    }
    return {name: text for name, value in given.items() if (text := clean(value, 255))}
