"""Takes one recipient out of texts, JSON and raw requests. Pure; called by erase.

A recipient is looked for in all spellings that providers use: in any case, percent-encoded (in an address within an
address twice), with JSON's escapes, a phone number without its +. Only as a whole: ada@example.org is no part of
bada@example.org.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import orjson

ERASED = "(erased)"
SHORT = 5  # characters: shorter ones are only looked for as whole values, or every text would hold them
# An escape may stand before it.
_ESCAPED = r"(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\[nrt])"
_COPIES, _REPLIES = ("cc", "bcc"), "reply_to"


class Needle:
    """One recipient, to be found and replaced."""

    def __init__(self, channel: str, address: str) -> None:
        self.address = address
        self._folded = {address.casefold(), address.lower()}
        forms = {*_spellings(address)}
        if channel == "sms":
            forms.add(address.removeprefix("+"))
            self._folded.add(address.removeprefix("+"))
        self._forms = sorted(forms, key=len, reverse=True) if len(address) >= SHORT else []
        inner = "|".join(map(re.escape, self._forms)) or r"(?!)"
        part = "0-9" if channel == "sms" else "0-9A-Za-z._%+-"
        pattern = rf"(?:(?<![{part}])|{_ESCAPED})(?:{inner})(?![0-9A-Za-z-]|\.[0-9A-Za-z])"
        self._text = re.compile(pattern, re.IGNORECASE)
        self._raw = re.compile(pattern.encode(), re.IGNORECASE)
        self._part = re.compile(rf"(?:(?<![0-9A-Za-z])|{_ESCAPED})(?:{inner})(?![0-9A-Za-z])", re.IGNORECASE)

    @property
    def folded(self) -> list[str]:
        """What lower(recipient) may be."""
        return sorted(self._folded)

    @property
    def forms(self) -> list[str]:
        """Its spellings, in lower case."""
        return [form.lower() for form in self._forms]

    @property
    def like(self) -> list[str]:
        """LIKE patterns of lower-cased texts that may hold it."""
        return [f"%{_unlike(form.lower())}%" for form in self._forms]

    @property
    def like_raw(self) -> list[str]:
        """The same for lower(encode(bytea, 'escape'))."""
        return [f"%{_unlike(_octal(form).lower())}%" for form in self._forms]

    def is_it(self, value: str) -> bool:
        """The whole value is this recipient."""
        return value.casefold() in self._folded

    def text(self, value: str) -> str:
        return ERASED if self.is_it(value) else self._text.sub(ERASED, value)

    def inside(self, value: str) -> str:
        """For ids that were made of it, as welcome-ada@example.org: what may be another address counts too."""
        return ERASED if self.is_it(value) else self._part.sub(ERASED, value)

    def raw(self, value: bytes) -> bytes:
        return self._raw.sub(ERASED.encode(), value)

    def json(self, value: Any, *, ids: bool = False) -> Any:
        """Any JSON without it; a copy's address goes as a whole, with the name before it. `ids`: what it says may be
        ids that were made of it."""
        if isinstance(value, str):
            return self.inside(value) if ids else self.text(value)
        if isinstance(value, list):
            return [self.json(each, ids=ids) for each in value]
        if isinstance(value, dict):
            return {self.text(name): self._member(name, each, ids) for name, each in value.items()}
        return value

    def _member(self, name: str, value: Any, ids: bool) -> Any:
        if name in _COPIES and isinstance(value, list):
            return [each for each in value if not isinstance(each, str) or self.text(each) == each]
        if name == _REPLIES and isinstance(value, str) and self.text(value) != value:
            return ""  # a message that waits is sent without it; no server would take the other
        return self.json(value, ids=ids)


def _spellings(address: str) -> Iterator[str]:
    """As it is; in URLs, of which some encode less than others, and in URLs within URLs; in JSON."""
    whole = quote(address, safe="")
    yield from (address, quote_plus(address), whole, quote(whole, safe=""))
    yield from (quote(address, safe=safe) for safe in ("@", "+", "@+"))
    for ascii_only in (True, False):
        escaped = json.dumps(address, ensure_ascii=ascii_only)[1:-1]
        yield from (escaped, escaped.replace("/", r"\/"))  # PHP escapes these too


def _unlike(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _octal(text: str) -> str:
    """As PostgreSQL's encode(…, 'escape') shows it."""
    return "".join("\\\\" if b == 0x5C else chr(b) if b < 0x80 else f"\\{b:03o}" for b in text.encode())


def document(text: Any) -> Any:
    """A jsonb value as the driver gave it."""
    return orjson.loads(text) if isinstance(text, str | bytes) else text
