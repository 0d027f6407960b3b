"""Reading the parts and fields of a mail, whatever is in them. Pure; called by the bounce parser."""

from __future__ import annotations

import email
import re
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime

MAILBOX = re.compile(r"[^\s<>@,;:\"]{1,64}@[\w.-]{1,255}")


def groups(part: Message | None) -> list[Message]:
    """The groups of fields in a report: what is about the mail as a whole, then one for each recipient."""
    if part is None:
        return []
    payload = part.get_payload()
    found = [group for group in payload if isinstance(group, Message)] if isinstance(payload, list) else []
    # The parser splits message/delivery-status only; of the other types the rest stands in the first group's body.
    rest = found[-1].get_payload() if found else decoded(part)
    if isinstance(rest, str):
        found += [email.message_from_string(block) for block in re.split(r"\n\s*\n", rest.strip()) if block]
    return found


def headers_in(part: Message) -> Message:
    payload = part.get_payload()
    if isinstance(payload, list):
        return payload[0] if payload and isinstance(payload[0], Message) else Message()
    return email.message_from_string(decoded(part).lstrip())


def first(groups: list[Message], name: str) -> str:
    return next((value for group in groups if (value := field(group, name))), "")


def field(message: Message, name: str) -> str:
    return " ".join(str(message.get(name, "")).split())


def typed(value: str) -> str:
    """`rfc822; a@b` without its type."""
    kind, separator, rest = value.partition(";")
    return (rest if separator and " " not in kind.strip() else value).strip()


def mailbox(value: str) -> str:
    found = MAILBOX.search(value)
    return found.group() if found else ""


def date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def text_of(mail: Message) -> str:
    return next((decoded(part) for part in mail.walk() if part.get_content_type() == "text/plain"), "")


def decoded(part: Message) -> str:
    raw = part.get_payload(decode=True)
    if not isinstance(raw, bytes):
        return ""
    try:
        return raw.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:  # a charset that does not exist
        return raw.decode("latin-1")
