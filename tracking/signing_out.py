"""How what we send to endpoints is signed: as Standard Webhooks has it, and as ChatAPI did. Pure; called by publish.

Any text may be a secret. `whsec_<base64>` is one as the standard wants it; every other text stands for its bytes, and
a receiver that uses a library of the standard gives it `whsec_of` that text.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256

from providers import signing

PREFIX = "whsec_"
KEY_BYTES = (24, 64)  # what the standard allows


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def fault(secret: str) -> str:
    """What is wrong with a secret that says it is one of the standard's; empty where nothing is."""
    if not secret.startswith(PREFIX):
        return ""
    least, most = KEY_BYTES
    try:
        size = len(base64.b64decode(secret.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        return "begins with whsec_, but base64 does not follow"
    return "" if least <= size <= most else f"must hold {least} to {most} bytes after whsec_"


def key_of(secret: str) -> bytes:
    if secret.startswith(PREFIX):
        return base64.b64decode(secret.removeprefix(PREFIX))
    return secret.encode()


def whsec_of(secret: str) -> str:
    """The secret as libraries of the standard take it."""
    return PREFIX + base64.b64encode(key_of(secret)).decode()


def headers(valid: Sequence[str], *, identifier: str, at: datetime, body: bytes) -> Mapping[str, str]:
    """`valid`: the secret, then others that are still good. ChatAPI's header has room for one signature, the first's;
    its key is the secret as it was written."""
    timestamp = str(int(at.timestamp()))
    if not valid:  # nothing to sign with
        return {"webhook-id": identifier, "webhook-timestamp": timestamp}
    signatures = [signing.signature(key_of(secret), identifier, timestamp, body) for secret in valid]
    return {
        "webhook-id": identifier,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
        "X-ChatAPI-Signature": f"sha256={hmac.new(valid[0].encode(), body, sha256).hexdigest()}",
    }
