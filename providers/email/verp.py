"""Return paths that name the attempt: `bounces@example.com` becomes `bounces+<echo>-<signature>@example.com`.

Called by the SMTP adapter, which writes them, and by the bounce parser, which reads them. Signed, because anybody may
send a mail to such an address: a bounce must not be able to name a message that its author never got. Lower case
only, since some servers fold the local part.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from providers import signing

MAX_LOCAL_PART = 64  # RFC 5321
_SIGNATURE_LENGTH = 12  # 60 bits
_UNSAFE = re.compile(rb"[^a-z0-9.-]|\.(?=\.|$)")
_ESCAPED = re.compile(r"=([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Verp:
    return_path: str  # "bounces@example.com"
    secret: str
    previous: str = ""  # bounces of paths that it signed are still on their way

    def encode(self, echo: str) -> str:
        """The return path for this attempt; the plain one where an echo is too long to be carried."""
        local, _, domain = self.return_path.rpartition("@")
        local = f"{local}+{_escape(echo)}-{_signature(self.secret, echo)}"
        return f"{local}@{domain}" if len(local) <= MAX_LOCAL_PART else self.return_path

    def decode(self, address: str) -> str:
        """The echo, or "" where the address is not one of ours or its signature is wrong."""
        local, _, domain = self.return_path.lower().rpartition("@")
        found, _, at = address.strip().strip("<>").lower().rpartition("@")
        if at != domain or not found.startswith(f"{local}+"):
            return ""
        token, _, signature = found.removeprefix(f"{local}+").rpartition("-")
        echo = _unescape(token)
        wanted = [_signature(secret, echo).encode() for secret in (self.secret, self.previous) if secret]
        return echo if signing.same(signature.encode(), wanted) else ""


def _signature(secret: str, echo: str) -> str:
    digest = hmac.new(secret.encode(), b"verp:" + echo.encode(), hashlib.sha256).digest()
    return base64.b32encode(digest).decode().lower()[:_SIGNATURE_LENGTH]


def _escape(echo: str) -> str:
    return _UNSAFE.sub(lambda match: b"=%02x" % match.group()[0], echo.encode()).decode()


def _unescape(token: str) -> str:
    raw = _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), token)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")
