"""Mails that tell what became of a mail, as receipts. Pure; called by the SMTP adapter.

Reads delivery status notices (RFC 3464), abuse reports (ARF, RFC 5965), read receipts (MDN, RFC 8098) and, as far as
one can, bounces in plain words. A mail is linked to its attempt by the signed return path, else Original-Envelope-Id,
else the Message-ID of the returned headers, else X-Postroom-Echo. Anybody may send such mails: nothing here raises
anything but ParseFailed.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import Message
from email.utils import getaddresses
from typing import Any

from providers.base import ParseFailed, Receipt, ReceiptKind
from providers.classify import classify, statuses_in
from providers.email import reading
from providers.email.mime import ECHO_HEADER
from providers.email.verp import Verp
from providers.text import clean

MAX_BYTES = 512 * 1024  # reports stand first; a returned attachment may be cut off
MAX_RECIPIENTS = 100
MAX_TEXT = 1000

_ACTIONS = {
    "failed": ReceiptKind.BOUNCED,
    "delayed": ReceiptKind.DEFERRED,
    "delivered": ReceiptKind.DELIVERED,
    "relayed": ReceiptKind.ACCEPTED,  # on to a server that sends no notices
    "expanded": ReceiptKind.ACCEPTED,  # on to the members of a list
}
_FEEDBACK = {
    "abuse": ReceiptKind.COMPLAINED,
    "fraud": ReceiptKind.COMPLAINED,
    "opt-out": ReceiptKind.UNSUBSCRIBED,
    "not-spam": ReceiptKind.OTHER,
    "auth-failure": ReceiptKind.OTHER,
    "virus": ReceiptKind.OTHER,
    "other": ReceiptKind.OTHER,
}
_DISPOSITIONS = {
    "displayed": ReceiptKind.READ,
    "deleted": ReceiptKind.OTHER,
    "dispatched": ReceiptKind.OTHER,
    "processed": ReceiptKind.OTHER,
    "denied": ReceiptKind.OTHER,
    "failed": ReceiptKind.OTHER,
}
_RETURNED = {"message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"}
_ENVELOPE_HEADERS = ("Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To", "To", "Cc")

_ECHO = re.compile(r"<?([^\s<>@]+\.\d{1,5})(?:@[^\s<>@]+)?>?")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_SUBJECT_OF_BOUNCE = re.compile(
    r"undeliver|not delivered|delivery (status|fail|notif|problem|incomplete|delay)|returned mail|failure notice"
    r"|mail delivery|delivery has failed|mail system error|returned to sender",
    re.IGNORECASE,
)
_SUBJECT_OF_REPLY = re.compile(r"out of (the )?office|auto(matic)?[- ]?repl|abwesen|absence|vacation", re.IGNORECASE)
_DELAY = re.compile(r"\bdelayed\b|still trying|will (be retried|keep trying|continue trying)|warning", re.IGNORECASE)
_COPY_FOLLOWS = re.compile(r"(?m)^-{2,}.*\b(?:copy|original)\b.*\n?")


@dataclass(frozen=True, slots=True)
class _Link:
    """What the mail is about, and when it was written."""

    echo: str
    reference: str
    written_at: datetime | None


def parse(raw: bytes, *, verp: Verp | None = None, envelope_recipients: Iterable[str] = ()) -> list[Receipt]:
    """One receipt for each recipient that the mail reports on; [] where it says nothing about a message of ours."""
    try:
        found = _receipts(email.message_from_bytes(raw[:MAX_BYTES]), verp, list(envelope_recipients))
        return [_storable(receipt) for receipt in found]
    except ParseFailed:
        raise
    except Exception as error:  # the parser's own faults, met only in mail that was made to meet them
        raise ParseFailed(f"unreadable mail: {type(error).__name__}: {error}") from error


def _storable(receipt: Receipt) -> Receipt:
    names = ("echo", "reference", "recipient", "word", "code", "text")
    words: dict[str, Any] = {name: clean(getattr(receipt, name), MAX_TEXT) for name in names}
    return replace(receipt, detail={name: clean(value, 255) for name, value in receipt.detail.items()}, **words)


def _receipts(mail: Message, verp: Verp | None, envelope_recipients: list[str]) -> Iterator[Receipt]:
    parts = {part.get_content_type(): part for part in reversed(list(mail.walk()))}  # the outermost of each type
    returned = next((reading.headers_in(part) for kind, part in parts.items() if kind in _RETURNED), Message())
    status = parts.get("message/delivery-status") or parts.get("message/global-delivery-status")
    feedback, disposition = parts.get("message/feedback-report"), parts.get("message/disposition-notification")
    report = reading.groups(status or feedback or disposition)
    link = _link(mail, report, returned, verp, envelope_recipients)
    if status is not None:
        yield from _from_status(report, link)
    elif feedback is not None:
        yield from _from_feedback(report, link)
    elif disposition is not None:
        yield _from_disposition(report, link)
    else:
        yield from _from_words(mail, link)


# -- finding the attempt


def _link(
    mail: Message, report: list[Message], returned: Message, verp: Verp | None, envelope_recipients: list[str]
) -> _Link:
    message_id = reading.field(returned, "Message-ID") or reading.first(report, "Original-Message-ID")
    echo = (
        (verp and _from_return_path(mail, report, returned, verp, envelope_recipients))
        or _echo(_from_xtext(reading.first(report, "Original-Envelope-Id")))
        or _echo(message_id)
        or _echo(reading.field(returned, ECHO_HEADER))
        or ""
    )
    found = re.search(r"<[^<>\s]+>", message_id)
    return _Link(echo, found.group() if found else message_id[:255], reading.date(reading.field(mail, "Date")))


def _from_return_path(
    mail: Message, report: list[Message], returned: Message, verp: Verp, envelope_recipients: list[str]
) -> str:
    values = [str(value) for name in _ENVELOPE_HEADERS for value in mail.get_all(name, [])]
    values += [reading.field(returned, "Return-Path"), reading.first(report, "Original-Mail-From")]
    candidates = envelope_recipients + [address for _, address in getaddresses(values)]
    return next((echo for candidate in candidates[:MAX_RECIPIENTS] if (echo := verp.decode(candidate))), "")


def _echo(value: str) -> str:
    found = _ECHO.fullmatch(value.strip())
    return found.group(1) if found else ""


def _from_xtext(value: str) -> str:
    return re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match.group(1), 16)), value)


# -- the three kinds of report


def _from_status(report: list[Message], link: _Link) -> Iterator[Receipt]:
    groups = [group for group in report if group["Final-Recipient"] or group["Original-Recipient"] or group["Action"]]
    if not groups:
        raise ParseFailed("a delivery status without a recipient")
    for group in groups[:MAX_RECIPIENTS]:
        yield _of_recipient(group, link, reported_by=reading.typed(reading.first(report, "Reporting-MTA")))


def _of_recipient(group: Message, link: _Link, *, reported_by: str) -> Receipt:
    found = _STATUS.search(reading.field(group, "Status"))
    diagnostic = reading.typed(reading.field(group, "Diagnostic-Code"))
    reply, status = statuses_in(diagnostic)
    if found and (not status or not found.group().endswith(".0.0")):
        status = found.group()
    word = reading.field(group, "Action").lower()
    kind = _ACTIONS.get(word) or {"2": ReceiptKind.DELIVERED, "4": ReceiptKind.DEFERRED, "5": ReceiptKind.BOUNCED}.get(
        status[:1], ReceiptKind.OTHER
    )
    recipient = reading.typed(reading.field(group, "Original-Recipient")) or reading.typed(
        reading.field(group, "Final-Recipient")
    )
    return _receipt(
        kind,
        link,
        recipient=recipient,
        word=word or status,
        status=status,
        reply=reply,
        text=diagnostic,
        at=reading.date(reading.field(group, "Last-Attempt-Date")),
        detail={"reported_by": reported_by, "remote": reading.typed(reading.field(group, "Remote-MTA"))},
    )


def _from_feedback(report: list[Message], link: _Link) -> Iterator[Receipt]:
    word = reading.first(report, "Feedback-Type").lower()
    if not word:
        raise ParseFailed("a feedback report without a type")
    kind = _FEEDBACK.get(word, ReceiptKind.OTHER)
    named = [reading.typed(str(value)) for group in report for value in group.get_all("Original-Rcpt-To", [])]
    for recipient in named[:MAX_RECIPIENTS] or [""]:
        yield Receipt(
            kind=kind,
            occurred_at=reading.date(reading.first(report, "Received-Date") or reading.first(report, "Arrival-Date"))
            or link.written_at,
            echo=link.echo,
            reference=link.reference,
            recipient=reading.mailbox(recipient),
            word=word,
            suppress=kind in (ReceiptKind.COMPLAINED, ReceiptKind.UNSUBSCRIBED),
            known=word in _FEEDBACK,
            detail={"reported_by": reading.first(report, "User-Agent")[:255]},
        )


def _from_disposition(report: list[Message], link: _Link) -> Receipt:
    mode, _, word = reading.first(report, "Disposition").lower().partition(";")
    word = word.split("/")[0].strip()
    if not word:
        raise ParseFailed("a read receipt without a disposition")
    recipient = reading.typed(reading.first(report, "Original-Recipient")) or reading.typed(
        reading.first(report, "Final-Recipient")
    )
    return Receipt(
        kind=_DISPOSITIONS.get(word, ReceiptKind.OTHER),
        occurred_at=link.written_at,
        echo=link.echo,
        reference=link.reference,
        recipient=reading.mailbox(recipient),
        word=word,
        machine=mode.strip().startswith("automatic-action"),
        known=word in _DISPOSITIONS,
    )


# -- bounces in plain words


def _from_words(mail: Message, link: _Link) -> Iterator[Receipt]:
    subject, text = reading.field(mail, "Subject"), reading.text_of(mail)
    if _is_reply_of_a_machine(mail, subject):
        if link.echo or link.reference:
            yield Receipt(
                ReceiptKind.OTHER, link.written_at, echo=link.echo, reference=link.reference, word="auto-reply"
            )
        return
    sender = reading.field(mail, "From").lower()
    if not (_SUBJECT_OF_BOUNCE.search(subject) or re.search(r"mailer-daemon|postmaster", sender)):
        raise ParseFailed("neither a report nor a bounce")
    said, *copy = _COPY_FOLLOWS.split(text, maxsplit=1)
    if copy and not (link.echo or link.reference):
        headers = email.message_from_string(copy[0].lstrip())
        message_id = reading.field(headers, "Message-ID")
        link = _Link(_echo(message_id) or _echo(reading.field(headers, ECHO_HEADER)), message_id[:255], link.written_at)
    reply, status = statuses_in(said)
    failed = reading.MAILBOX.search(reading.field(mail, "X-Failed-Recipients")) or reading.MAILBOX.search(said)
    yield _receipt(
        ReceiptKind.DEFERRED if status.startswith("4") or _DELAY.search(subject) else ReceiptKind.BOUNCED,
        link,
        recipient=failed.group() if failed else "",
        word="bounce in words",
        status=status,
        reply=reply,
        text=said,
        at=None,
        detail={},
    )


def _is_reply_of_a_machine(mail: Message, subject: str) -> bool:
    automatic = reading.field(mail, "Auto-Submitted").lower()
    return (
        automatic.startswith("auto-replied")
        or any(mail[name] for name in ("X-Autoreply", "X-Autorespond", "X-Autoresponse"))
        or reading.field(mail, "Precedence").lower() == "auto_reply"
        or bool(_SUBJECT_OF_REPLY.search(subject))
    )


def _receipt(
    kind: ReceiptKind,
    link: _Link,
    *,
    recipient: str,
    word: str,
    status: str,
    reply: str,
    text: str,
    at: datetime | None,
    detail: dict[str, str],
) -> Receipt:
    text = " ".join(text.split())[:MAX_TEXT]
    found = classify("smtp", enhanced=status, reply=reply, text=text)
    final = kind is ReceiptKind.BOUNCED
    return Receipt(
        kind=kind,
        occurred_at=at or link.written_at,
        echo=link.echo,
        reference=link.reference,
        recipient=reading.mailbox(recipient),
        word=word[:100],
        code=" ".join(filter(None, (reply, status))),
        text=text,
        failure=found.failure if final else None,
        bounce=found.bounce if final else None,
        suppress=final and found.suppress,
        known=found.known or not final,
        detail={name: value[:255] for name, value in detail.items() if value},
    )
