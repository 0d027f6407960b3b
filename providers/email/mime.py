"""One Outbound as an RFC 5322 message. Pure; called by the adapters that hand over whole messages.

Python's own header parser costs more than all the rest of a message together; headers that are plain ASCII are stored
as they stand, after a check, and only the others go through it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate, getaddresses
from typing import Any

import idna

from providers.base import Attachment, Outbound

ECHO_HEADER = "X-Postroom-Echo"

_NAME = re.compile(r"[!-9;-~]+")
_ADDRESS = re.compile(r"[^\s@<>(),:;\"\\\[\]\x00-\x1f]+@[^\s@<>(),:;\"\\\x00-\x1f]+")
_NAMED = re.compile(rf"([\w .-]*?) *<({_ADDRESS.pattern})>", re.ASCII)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 -]+")
_CONTENT_TYPE = re.compile(r"(application|audio|font|image|model|text|video)/[\w.+-]+", re.ASCII)
_LINE_LIMIT = 900  # RFC 5322 allows 998 octets; shorter lines are left as they are, so that no address is broken
# Set here, or harmful: the rest of what callers name passes through (List-Unsubscribe, Precedence, …).
RESERVED = frozenset(
    {"bcc", "cc", "from", "message-id", "mime-version", "reply-to", "resent-bcc", "return-path", "subject", "to"}
    | {ECHO_HEADER.lower()}
)
_ONCE = RESERVED | {"content-type", "date", "sender"}


class Unsendable(ValueError):
    """A message that cannot be written as e-mail, whoever tries."""


class _Policy(EmailPolicy):
    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        _check_header(name, str(value))
        if isinstance(value, str) and value.isascii() and value.isprintable() and len(value) < _LINE_LIMIT:
            return name, value
        return super().header_store_parse(name, value)

    def header_max_count(self, name: str) -> int | None:
        return 1 if name.lower() in _ONCE else None

    def header_fetch_parse(self, name: str, value: Any) -> Any:
        return value


_POLICY = _Policy(linesep="\r\n", cte_type="7bit", refold_source="none")
_POLICY_UTF8 = _POLICY.clone(utf8=True)


def addresses(values: Iterable[str]) -> list[tuple[str, str]]:
    """(display name, address) of each, with domains in their ASCII form. Raises Unsendable."""
    return [_address(value) for value in values]


def _address(value: str) -> tuple[str, str]:
    if _ADDRESS.fullmatch(value):
        return "", _ascii_domain(value)
    if named := _NAMED.fullmatch(value):
        return named.group(1).strip(), _ascii_domain(named.group(2))
    found = getaddresses([value])
    if len(found) != 1 or not _ADDRESS.fullmatch(found[0][1]):
        raise Unsendable(f"not an e-mail address: {value[:100]!r}")
    return found[0][0], _ascii_domain(found[0][1])


def _ascii_domain(address: str) -> str:
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError as error:
        raise Unsendable(f"not a domain: {domain[:100]!r}") from error


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's own headers. Raises Unsendable for those that are ours to set, or would break the message."""
    for name, value in headers.items():
        if name.lower() in RESERVED or name.lower().startswith("content-"):
            raise Unsendable(f"the header {name} cannot be set")
        _check_header(name, str(value))
    return {name: str(value) for name, value in headers.items()}


def _check_header(name: str, value: str) -> None:
    if _NAME.fullmatch(name) is None or any(char in value for char in "\r\n\0"):
        raise Unsendable(f"the header {name[:40]!r} would break the message")


def build(outbound: Outbound, *, sender: str, message_id: str, utf8: bool = False) -> EmailMessage:
    """`message_id` with its angle brackets; `utf8` for SMTPUTF8. No Bcc header is written. Raises Unsendable."""
    message = EmailMessage(_POLICY_UTF8 if utf8 else _POLICY)
    try:
        _set_headers(message, outbound, sender=sender, message_id=message_id)
        _set_body(message, outbound)
    except Unsendable:
        raise
    except (ValueError, LookupError, TypeError) as error:  # lone surrogates, for one
        raise Unsendable(str(error)) from error
    return message


def _set_headers(message: EmailMessage, outbound: Outbound, *, sender: str, message_id: str) -> None:
    message["From"] = _header([sender])
    message["To"] = _header([outbound.recipient])
    if outbound.cc:
        message["Cc"] = _header(outbound.cc)
    if outbound.reply_to:
        message["Reply-To"] = _header([outbound.reply_to])
    message["Subject"] = outbound.subject
    message["Message-ID"] = message_id
    for name, value in check_headers(outbound.headers).items():
        message[name] = value
    if "Date" not in message:
        message["Date"] = formatdate(usegmt=True)
    message[ECHO_HEADER] = outbound.echo


def _header(values: Iterable[str]) -> str:
    found = addresses(values)
    if any("\r" in name or "\n" in name for name, _ in found):
        raise Unsendable("a display name with a line break")
    return ", ".join(_formatted(name, address) for name, address in found)


def _formatted(name: str, address: str) -> str:
    if not name:
        return address
    if _PLAIN_NAME.fullmatch(name):
        return f"{name} <{address}>"
    local, _, domain = address.rpartition("@")
    return str(Address(name, local, domain))


def _set_body(message: EmailMessage, outbound: Outbound) -> None:
    if outbound.template_id and not (outbound.text or outbound.html):
        raise Unsendable("a vendor's template cannot be sent here")
    inline = [one for one in outbound.attachments if one.inline_id and outbound.html]
    if outbound.text or not outbound.html:
        _set_text(message, outbound.text)
    if outbound.html:
        _set_html(message, outbound, inline)
    for attachment in outbound.attachments:
        if attachment not in inline:
            _attach(message, attachment)
    for part in message.walk():
        if part.is_multipart():
            part.set_boundary(f"={secrets.token_hex(16)}=")  # else the generator searches the bodies for a free one


def _set_text(message: EmailMessage, text: str) -> None:
    """As set_content does it, without its search for an encoding where plain ASCII needs none."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii() and "\0" not in text and all(len(line) < _LINE_LIMIT for line in text.split("\n")):
        message["Content-Type"] = 'text/plain; charset="utf-8"'
        message["Content-Transfer-Encoding"] = "7bit"
        message["MIME-Version"] = "1.0"
        message.set_payload(text if text.endswith("\n") else f"{text}\n")
    else:
        message.set_content(text)


def _set_html(message: EmailMessage, outbound: Outbound, inline: list[Attachment]) -> None:
    html = message
    if outbound.text:
        message.add_alternative(outbound.html, subtype="html")
        html = message.get_payload()[-1]  # type: ignore[assignment,index]
    else:
        message.set_content(outbound.html, subtype="html")
    for image in inline:
        maintype, subtype = type_of(image)
        html.add_related(
            image.content,
            maintype,
            subtype,
            cid=f"<{token(image.inline_id)}>",
            disposition="inline",
            filename=token(image.filename) or None,
        )


def _attach(message: EmailMessage, attachment: Attachment) -> None:
    maintype, subtype = type_of(attachment)
    message.add_attachment(
        attachment.content, maintype=maintype, subtype=subtype, filename=token(attachment.filename) or "attachment"
    )


def type_of(attachment: Attachment) -> tuple[str, str]:
    """Types that would make a part a container (multipart, message) are sent as bytes."""
    found = _CONTENT_TYPE.match(attachment.content_type)
    maintype, _, subtype = (found.group() if found else "application/octet-stream").partition("/")
    return maintype, subtype


def token(value: str) -> str:
    if any(char in value for char in "\r\n\0<>"):
        raise Unsendable("a file name with a line break")
    return value
