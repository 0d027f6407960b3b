"""The one form in which a recipient is stored, for each channel. Pure; called by the schema.

An address that cannot be one is refused; whether it exists is for its provider to say.
"""

from __future__ import annotations

import re
from email.utils import parseaddr

import phonenumbers
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator

_LOCAL_PHONE = re.compile(r"^\+?[0-9(][0-9 ().\-/]{2,30}$")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_is_email = EmailValidator()


class Bad(ValueError):
    """Not an address. The text never repeats it."""


def normal(channel: str, value: str, region: str) -> str:
    if channel == "email":
        return email(value)
    if channel == "sms":
        return phone(value, region)
    return token(value, 8, 500) if channel == "push" else chat(value)


def email(value: str) -> str:
    """The local part is kept as it is (it belongs to its host); the domain is lower-cased. Non-ASCII is allowed."""
    if len(value) > 320 or not value.isprintable():
        raise Bad("is not an e-mail address")
    local, _, domain = value.rpartition("@")
    try:  # RFC 6531 allows letters of every script where RFC 5321 allows ASCII letters
        _is_email(f"{_NOT_ASCII.sub('a', local)}@{domain}")
    except (ValidationError, UnicodeError):
        raise Bad("is not an e-mail address") from None
    return f"{local}@{domain.lower()}"


def mailbox(value: str) -> str:
    """An address, with or without a display name."""
    if "<" not in value:
        return email(value)
    name, found = parseaddr(value)
    if not found or not value.isprintable() or not value.rstrip().endswith(f"<{found}>"):
        raise Bad("is neither an e-mail address nor a name with one in <>")
    email(found)
    return value.strip()


def phone(value: str, region: str) -> str:
    """E.164. A local number needs the project's region."""
    if not _LOCAL_PHONE.match(value):
        raise Bad("is not a phone number")
    if not value.startswith("+") and not region:
        raise Bad("must be an international phone number that starts with +")
    try:
        number = phonenumbers.parse(value, region or None)
    except phonenumbers.NumberParseException:
        raise Bad("is not a phone number") from None
    # numbering plans change: whether a possible number is in use, the carrier knows better
    if not phonenumbers.is_possible_number(number):
        raise Bad("is not a possible phone number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def token(value: str, low: int, high: int) -> str:
    if not low <= len(value) <= high or not value.isprintable() or " " in value:
        raise Bad(f"must be a token of {low} to {high} printable characters without spaces")
    return value


def chat(value: str) -> str:
    if not 1 <= len(value) <= 200 or not value.isprintable() or not value.strip():
        raise Bad("must be an address of 1 to 200 printable characters")
    return value
