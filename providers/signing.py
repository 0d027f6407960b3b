"""Signatures as Standard Webhooks has them: three headers, HMAC-SHA256 over `id.timestamp.body`. Pure.

Called by the adapters that speak it, `same` by every adapter that compares secrets. Several secrets may be valid at
once, so that they can be changed without a gap.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from datetime import datetime

from providers.base import VerificationFailed

TOLERANCE = 300  # seconds between the signing and the arrival
MIN_KEY = 24  # bytes

_PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The key in `whsec_<base64>` (the prefix may be missing). Raises ValueError."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(key) < MIN_KEY:
        raise ValueError(f"shorter than {MIN_KEY} bytes")
    return key


def new_secret() -> str:
    return _PREFIX + base64.b64encode(os.urandom(MIN_KEY)).decode()


def same(given: bytes, accepted: Iterable[bytes]) -> bool:
    """Whether it is one of those. Each is compared, in constant time, whatever the others said."""
    return sum(hmac.compare_digest(given, one) for one in accepted) > 0


def headers(secrets: Iterable[str], *, identifier: str, at: datetime, body: bytes) -> dict[str, str]:
    """One signature for each secret."""
    timestamp = str(int(at.timestamp()))
    signatures = [signature(key_of(secret), identifier, timestamp, body) for secret in secrets if secret]
    return {
        "webhook-id": identifier,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def verify(secrets: Iterable[str], *, given: Mapping[str, str], body: bytes, now: datetime) -> None:
    """`given`: headers with lower-case names. Raises VerificationFailed."""
    identifier, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not (identifier and timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise VerificationFailed("unsigned")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE:
        raise VerificationFailed("signed too long ago, or in the future")
    try:
        wanted = [signature(key_of(secret), identifier, timestamp, body).encode() for secret in secrets if secret]
        offered = [one.encode() for one in given.get("webhook-signature", "").split()[:10]]
    except ValueError as error:  # a secret that is no key, a header that is no text
        raise VerificationFailed(str(error)) from error
    if not sum(same(one, wanted) for one in offered):
        raise VerificationFailed("wrong signature")


def signature(key: bytes, identifier: str, timestamp: str, body: bytes) -> str:
    """One entry of the header, version included."""
    signed = b".".join((identifier.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
