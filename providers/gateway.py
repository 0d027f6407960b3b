"""A generic gateway: signed JSON out, signed JSON back, so that anything can be put behind it. Loaded by the registry.

The wire format is described in docs/providers.md for those who write the other side.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

import orjson

from providers import gateway_events, http, signing
from providers.addresses import AddressPolicy, AddressRefused, check_url
from providers.base import (
    Account,
    Attachment,
    BounceClass,
    Channel,
    Classification,
    FailureClass,
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
)
from providers.classify import classify, statuses_in
from providers.text import clean


class HttpGateway(Provider):
    kind = "http"
    title = "HTTP gateway (signed JSON)"
    channels = frozenset(Channel)
    settings = (
        Setting("url", "Address", required=True, help="messages are posted here"),
        Setting(
            "secret",
            "Secret",
            secret=True,
            required=True,
            rotates=True,
            help="whsec_… or plain base64, 24 bytes or more",
        ),
        Setting("status_url", "Status address", help="asked what became of a hand-over whose answer was lost"),
        Setting("idempotent", "Honours Idempotency-Key", default=True, type=bool, help="a second send is then safe"),
        Setting(
            "allow_private",
            "May be on the own network",
            default=False,
            type=bool,
            help="lets Postroom call private and loopback addresses, and plain http, for this account",
        ),
    )
    signature_covers = "id, time and body"
    takes_idempotency_key = True
    echoes_metadata = True
    can_be_asked = True

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._secrets = self.accepted("secret")
        self._policy = None if account.settings.get("allow_private") else AddressPolicy()
        # What the vendor behind the gateway can do is the account's to say, not the class's.
        self.takes_idempotency_key = account.settings.get("idempotent") is not False
        self.can_be_asked = bool(account.settings.get("status_url"))

    # -- sending

    def send(self, outbound: Outbound) -> SendResult:
        answer = self._call("POST", str(self.account.settings.get("url", "")), outbound, _body(outbound))
        if not answer.ok:
            raise _refused(answer)
        said = answer.json()
        reference = said.get("id") if isinstance(said, dict) else None
        if not isinstance(reference, str | int) or isinstance(reference, bool) or reference == "":
            text = f"HTTP {answer.status}, but the answer names no id"
            raise ProviderError(text, classification=Classification(FailureClass.AMBIGUOUS), code=str(answer.status))
        return SendResult(
            reference=str(reference),
            code=str(answer.status),
            text=clean(said.get("message")),
            parts=_parts(said.get("parts")),
            cost=_cost(said.get("cost")),
        )

    def poll(self, outbound: Outbound, reference: str) -> list[Receipt]:
        query = urlencode({"key": outbound.idempotency_key, "echo": outbound.echo, "id": reference})
        url = str(self.account.settings.get("status_url", ""))
        answer = self._call("GET", f"{url}{'&' if '?' in url else '?'}{query}", outbound, b"")
        said = answer.json()
        if answer.status == 404 and said == {"known": False}:  # a bare 404 may be a wrong address
            return []
        if not answer.ok or not isinstance(said, dict):
            raise _refused(answer)
        taken = Receipt(ReceiptKind.ACCEPTED, None, echo=outbound.echo, reference=clean(said.get("id")) or reference)
        return [taken, *gateway_events.read_all(said.get("events") or [])]

    def _call(self, method: str, url: str, outbound: Outbound, body: bytes) -> http.Response:
        headers = {"Content-Type": "application/json", "Idempotency-Key": outbound.idempotency_key}
        try:
            headers |= signing.headers(
                self._secrets, identifier=outbound.idempotency_key, at=datetime.now(UTC), body=body
            )
        except ValueError as error:
            faulty = Classification(FailureClass.PERMANENT, BounceClass.ADMIN, account_fault=True)
            raise ProviderError(f"the secret is unusable: {error}", classification=faulty) from error
        try:
            return http.request(
                method, url, headers=headers, body=body or None, timeout=self.timeout, policy=self._policy
            )
        except http.HttpError as error:
            raise error.as_provider_error() from error

    # -- receipts

    def verify(self, request: HookRequest) -> Proof:
        signing.verify(self._secrets, given=request.headers, body=request.body, now=request.received_at)
        return Proof()

    def parse(self, request: HookRequest) -> list[Receipt]:
        try:
            said = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise ParseFailed(f"not JSON: {error}") from error
        if not isinstance(said, dict) or "events" not in said:
            raise ParseFailed("no events")
        return gateway_events.read_all(said["events"])

    @classmethod
    def new_secret(cls, name: str) -> str:
        return signing.new_secret()

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        errors = {}
        try:
            if settings.get("secret"):
                signing.key_of(str(settings["secret"]))
        except ValueError as error:
            errors["secret"] = str(error)
        if not settings.get("secret"):
            errors["secret"] = "needed: without it neither messages nor receipts can be trusted"
        for name in ("url", "status_url"):
            if settings.get(name) and (complaint := _url_error(settings, str(settings[name]))):
                errors[name] = complaint
        return errors


def _url_error(settings: Mapping[str, Any], url: str) -> str:
    try:
        check_url(url)
    except AddressRefused as error:
        return str(error)
    private = settings.get("allow_private")
    return "" if private or url.lower().startswith("https:") else "https, unless it may be on the own network"


# -- the message


def _body(outbound: Outbound) -> bytes:
    message = {field.name: getattr(outbound, field.name) for field in fields(outbound)}
    message["attachments"] = [_attachment(one) for one in outbound.attachments]
    for name in ("headers", "data", "variables", "metadata"):
        message[name] = dict(message[name])
    try:
        return orjson.dumps({"type": "message", **message}, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        classification = Classification(FailureClass.PERMANENT, BounceClass.UNDETERMINED)
        raise ProviderError(f"cannot be written as JSON: {error}", classification=classification) from error


def _attachment(attachment: Attachment) -> dict[str, str]:
    return {
        "filename": attachment.filename,
        "content_type": attachment.content_type,
        "content": base64.b64encode(attachment.content).decode(),
        "inline_id": attachment.inline_id,
    }


# -- the answer


def _refused(answer: http.Response) -> ProviderError:
    said = answer.json()
    said = said if isinstance(said, dict) else {}
    text = clean(said.get("message"))
    return ProviderError(
        text or f"HTTP {answer.status}",
        classification=_classification(said.get("class"), answer.status, text),
        code=clean(said.get("code")) or str(answer.status),
        retry_after=http.retry_after(answer.headers.get("Retry-After")),
        reference=clean(said.get("id")),
    )


def _classification(word: Any, status: int, text: str) -> Classification:
    """The class that the gateway names; else what the HTTP status says, refined by SMTP statuses in a 400's text."""
    if isinstance(word, str) and word in set(FailureClass):
        failure = FailureClass(word)
        invalid = failure is FailureClass.INVALID_RECIPIENT
        return Classification(failure, gateway_events.bounce_of(failure), suppress=invalid)
    reply, enhanced = statuses_in(text) if status in (400, 422) else ("", "")
    return classify("http", enhanced=enhanced, reply=reply, text=text, http=status)


def _parts(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1000 else None


def _cost(value: Any) -> Decimal | None:
    try:
        cost = Decimal(str(value)) if isinstance(value, str | int | float) else None
    except InvalidOperation:
        return None
    return cost if cost is not None and cost.is_finite() and 0 <= cost < 10**6 else None
