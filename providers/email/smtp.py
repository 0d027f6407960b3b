"""Sending through any SMTP server, and reading the bounce mail that comes back. Loaded by the registry.

SMTP returns no id of its own that receipts carry, so the reference is the Message-ID, `<echo@domain>`; receipts are the
mails to the return path, handed in by a pipe transport or through the hook as `message/rfc822`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from providers import signing, sockets
from providers.base import (
    Account,
    BounceClass,
    Channel,
    Classification,
    FailureClass,
    HookRequest,
    Outbound,
    Proof,
    Provider,
    ProviderError,
    Receipt,
    SendResult,
    Setting,
    VerificationFailed,
)
from providers.classify import classify
from providers.email import bounces, mime
from providers.email.smtp_connection import Client, Envelope, Recipient, Server, deliver
from providers.email.verp import Verp

MIN_SECRET = 16  # characters

_NOTIFY = {"off": "", "failure": "FAILURE,DELAY", "success": "SUCCESS,FAILURE,DELAY"}


class Smtp(Provider):
    kind = "smtp"
    title = "SMTP server"
    channels = frozenset({Channel.EMAIL})
    settings = (
        Setting("host", "Host", required=True),
        Setting("port", "Port", default=587, type=int),
        Setting("security", "Encryption", default="starttls", choices=("starttls", "tls", "none")),
        Setting("username", "User name"),
        Setting("password", "Password", secret=True),
        Setting("authority", "Certificate authority", help="PEM, for a server whose certificate is privately signed"),
        Setting("helo", "Name in HELO", help="by default this machine's name"),
        Setting("sender", "Default sender", help="for messages that name none"),
        Setting("message_id_domain", "Domain of Message-IDs", help="by default the sender's"),
        Setting("return_path", "Return path", help="bounces@example.com; its server must accept bounces+…@example.com"),
        Setting(
            "verp_secret",
            "Return path secret",
            secret=True,
            rotates=True,
            help="signs return paths; needed with a return path",
        ),
        Setting("notify", "Delivery notices", default="failure", choices=tuple(_NOTIFY), help="asked for by DSN"),
        Setting(
            "hook_secret",
            "Hook secret",
            secret=True,
            rotates=True,
            help="Bearer token or Basic password of posted bounce mail",
        ),
    )
    signature_covers = "nothing: a shared secret in the request"
    echoes_metadata = True

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._server = Server(
            host=self._get("host"),
            port=int(account.settings.get("port") or 587),
            security=self._get("security") or "starttls",
            username=self._get("username"),
            password=self._get("password"),
            helo=self._get("helo"),
            authority=self._get("authority"),
        )

    def _get(self, name: str) -> str:
        return str(self.account.settings.get(name) or "")

    def _verp(self) -> Verp | None:
        return_path, secrets = self._get("return_path"), self.accepted("verp_secret")
        return Verp(return_path, *secrets) if return_path and self._get("verp_secret") else None

    # -- sending

    def send(self, outbound: Outbound) -> SendResult:
        sender = outbound.sender or self._get("sender")
        try:
            ((_, address),) = mime.addresses([sender])
            domain = self._get("message_id_domain") or address.rpartition("@")[2]
            message_id = f"<{outbound.echo}@{domain}>"
            to, *copies = (found for _, found in mime.addresses([outbound.recipient, *outbound.cc, *outbound.bcc]))
        except mime.Unsendable as error:
            raise _unsendable(error) from error

        def compose(client: Client) -> tuple[Envelope, bytes]:
            utf8 = not all(one.isascii() for one in (address, to, *copies))
            content = _content(outbound, sender=sender, message_id=message_id, utf8=utf8)
            return self._envelope(client, outbound, address, [to, *copies], utf8=utf8, size=len(content)), content

        with sockets.deadline(self.timeout):
            accepted = deliver(self._server, compose=compose)
        refused = f" (refused: {'; '.join(accepted.refused)})" if accepted.refused else ""
        return SendResult(reference=message_id, code=accepted.text[:3], text=accepted.text + refused)

    def _envelope(
        self, client: Client, outbound: Outbound, sender: str, recipients: list[str], *, utf8: bool, size: int
    ) -> Envelope:
        verp = self._verp()
        options = [f"SIZE={size}"] if _fits(client, size) else []
        if utf8:
            if not client.has_extn("smtputf8"):
                raise _unsendable(mime.Unsendable("the server cannot carry non-ASCII addresses (no SMTPUTF8)"))
            options.append("SMTPUTF8")
        notify = _NOTIFY.get(self._get("notify"), "") if client.has_extn("dsn") else ""
        if notify:
            options += ["RET=HDRS", f"ENVID={_xtext(outbound.echo)}"]
        return Envelope(
            sender=verp.encode(outbound.echo) if verp else self._get("return_path") or sender,
            sender_options=tuple(options),
            recipients=tuple(
                # Only the message's own recipient is followed; a notice about a copy would be taken for one about it.
                Recipient(one, (f"NOTIFY={'NEVER' if number else notify}",) if notify else ())
                for number, one in enumerate(recipients)
            ),
        )

    # -- receipts

    def verify(self, request: HookRequest) -> Proof:
        secrets = self.accepted("hook_secret")
        if not secrets:
            raise VerificationFailed("this account takes no bounce mail by its hook: it has no hook secret")
        given = _secret_in(request.headers.get("authorization", ""))
        if not signing.same(given.encode(), [secret.encode() for secret in secrets]):
            raise VerificationFailed("wrong secret")
        return Proof()

    def parse(self, request: HookRequest) -> list[Receipt]:
        """`?recipient=` may give the envelope recipient, where the transport knows it and the mail does not."""
        query = parse_qs(urlsplit(request.url).query)
        return bounces.parse(request.body, verp=self._verp(), envelope_recipients=query.get("recipient", []))

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        errors = {}
        port = settings.get("port")
        if port is not None and not 0 < int(port) < 65536:
            errors["port"] = "a number from 1 to 65535"
        if fault := sockets.authority_fault(str(settings.get("authority") or "")):
            errors["authority"] = fault
        for name in ("verp_secret", "hook_secret"):
            if settings.get(name) and len(str(settings[name])) < MIN_SECRET:
                errors[name] = f"at least {MIN_SECRET} characters"
        if settings.get("return_path"):
            if not settings.get("verp_secret"):
                errors["verp_secret"] = "needed with a return path: an unsigned one could be forged"
            if not _is_address(str(settings["return_path"])):
                errors["return_path"] = "not an e-mail address"
        if settings.get("sender") and not _is_address(str(settings["sender"])):
            errors["sender"] = "not an e-mail address"
        if settings.get("username") and not settings.get("password"):
            errors["password"] = "needed with a user name"
        return errors


def _is_address(value: str) -> bool:
    try:
        mime.addresses([value])
    except mime.Unsendable:
        return False
    return True


def _content(outbound: Outbound, *, sender: str, message_id: str, utf8: bool) -> bytes:
    try:
        return mime.build(outbound, sender=sender, message_id=message_id, utf8=utf8).as_bytes()
    except ValueError as error:
        raise _unsendable(error) from error


def _fits(client: Client, size: int) -> bool:
    """Whether the server wants to know the size. Raises where it has said that this is too much."""
    if not client.has_extn("size"):
        return False
    limit = client.esmtp_features["size"]
    if limit.isdigit() and 0 < int(limit) < size:
        too_large = classify("smtp", enhanced="5.3.4")
        raise ProviderError(f"{size} bytes; the server takes {limit}", classification=too_large, code="5.3.4")
    return True


def _unsendable(error: Exception) -> ProviderError:
    classification = Classification(FailureClass.PERMANENT, BounceClass.UNDETERMINED)
    return ProviderError(str(error), classification=classification)


def _xtext(value: str) -> str:
    """RFC 3461, section 4."""
    return "".join(char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char):02X}" for char in value)


def _secret_in(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode("utf-8", "replace").partition(":")[2]
    except binascii.Error:
        return ""
