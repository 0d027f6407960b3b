"""Signed names of one hand-over, for the addresses that a message carries. Pure; used by services.dress and visits.

A token holds the message's id, the attempt's number and a link's number, and the first 16 bytes of an HMAC over them
and over what it is for: no recipient, no target, no secret. Whoever changes a bit of it holds no token.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hmac
import struct
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from tracking import ids

_BODY = struct.Struct(">16sHH")
_MAC = 16  # bytes
_SIZE = _BODY.size + _MAC
_LENGTH = -(-_SIZE * 4 // 3)  # of base64 without its padding
_CODE = 11  # characters of a short link: 65 bits
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Use(enum.Enum):
    """What a token is for: one that opens is none that unsubscribes."""

    OPEN = b"o"
    CLICK = b"c"
    UNSUBSCRIBE = b"u"
    PUSH = b"p"


class Handed(NamedTuple):
    """One hand-over of a message, and which of its links."""

    message_id: UUID
    attempt: int
    link: int = 0


@lru_cache(maxsize=4)
def _key(secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"postroom engagement", sha256)


def _mac(use: bytes, body: bytes) -> bytes:
    # ADDRESS_KEY is the one that is never changed: what was sent must still unsubscribe in a year
    return hmac.digest(_key(settings.ADDRESS_KEY), use + body, sha256)


def sign(use: Use, handed: Handed) -> str:
    body = _BODY.pack(handed.message_id.bytes, handed.attempt, handed.link)
    return base64.urlsafe_b64encode(body + _mac(use.value, body)[:_MAC]).decode().rstrip("=")


def read(use: Use, token: str) -> Handed | None:
    """What `sign` made for the same use, else None."""
    if len(token) != _LENGTH or not token.isascii():
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    body, mac = raw[: _BODY.size], raw[_BODY.size :]
    if len(raw) != _SIZE or not hmac.compare_digest(mac, _mac(use.value, body)[:_MAC]):
        return None
    key, attempt, link = _BODY.unpack(body)
    message_id = UUID(bytes=key)
    return Handed(message_id, attempt, link) if ids.is_key(message_id) else None


def code(handed: Handed) -> str:
    """The code of a short link: the same for the same link of the same hand-over, and not to be guessed."""
    body = _BODY.pack(handed.message_id.bytes, handed.attempt, handed.link)
    number = int.from_bytes(_mac(b"l", body)[:_MAC])
    letters = []
    for _ in range(_CODE):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(letters)


def is_code(text: str) -> bool:
    return len(text) == _CODE and text.isascii() and text.isalnum()
