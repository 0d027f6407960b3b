"""Seals providers' credentials with keys that never enter the database. Used by the models that keep secrets.

`settings.CREDENTIALS_KEYS` holds one or more passphrases: the first seals, every one opens.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class SealBroken(Exception):
    """No configured key opens the credentials."""


@functools.cache
def _box(keys: tuple[str, ...]) -> MultiFernet:
    # Passphrases are long random strings (settings generates them), so one hash is enough of a key derivation.
    return MultiFernet([Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys])


def seal(credentials: dict[str, Any]) -> str:
    return _box(tuple(settings.CREDENTIALS_KEYS)).encrypt(orjson.dumps(credentials)).decode()


def unseal(sealed: str) -> dict[str, Any]:
    """Raises SealBroken; "" opens to {}."""
    if not sealed:
        return {}
    try:
        opened: dict[str, Any] = orjson.loads(_box(tuple(settings.CREDENTIALS_KEYS)).decrypt(sealed.encode()))
    except InvalidToken as error:
        raise SealBroken("credentials cannot be opened: CREDENTIALS_KEYS lacks the key that sealed them") from error
    return opened
