"""Where a page of a list ended, as the text that callers hand back: numbers or a key, unreadable on purpose. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from uuid import UUID

MAX = 2**63 - 1


class NotACursor(ValueError):
    """The text was never handed out."""


def encode(numbers: Sequence[int]) -> str:
    return base64.urlsafe_b64encode(".".join(map(str, numbers)).encode()).decode().rstrip("=")


def decode(text: str, count: int) -> tuple[int, ...]:
    """Raises NotACursor."""
    try:
        padded = text + "=" * (-len(text) % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split(".")
    except (ValueError, binascii.Error):
        raise NotACursor from None
    if len(parts) != count or not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts):
        raise NotACursor
    numbers = tuple(map(int, parts))
    if max(numbers) > MAX:
        raise NotACursor
    return numbers


def of_key(key: UUID) -> str:
    return base64.urlsafe_b64encode(key.bytes).decode().rstrip("=")


def key(text: str) -> UUID:
    """Raises NotACursor."""
    try:
        return UUID(bytes=base64.b64decode(f"{text}==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise NotACursor from None
