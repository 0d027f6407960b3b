"""How many parts an SMS takes, and what it costs: pure, after GSM 03.38 (3GPP TS 23.038) and the concatenation of TS
23.040.

Used by whatever hands messages over, and by SMSBat's interface. A text whose characters are all of the GSM 7-bit
alphabet takes 160 septets, or 153 in each of several parts; any other text is UCS-2, 70 or 67 code units. A part never
ends inside of a character.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")  # an escape and a septet: each counts for two
GSM7, UCS2 = "GSM-7", "UCS-2"
ALONE = {GSM7: 160, UCS2: 70}
TOGETHER = {GSM7: 153, UCS2: 67}  # six octets of each part say which part it is


class Counted(NamedTuple):
    encoding: str
    units: int  # septets or code units
    parts: int


class Price(NamedTuple):
    """Of a hand-over, as it stood then: what it costs if it arrives is the parts times the price of one."""

    parts: int  # 0: nobody has counted them
    price: Decimal
    currency: str


def price(channel: str, text: str, each: Decimal, currency: str) -> Price:
    """`each`: what a part, or a message without parts, costs. Where that is nothing, nothing is counted."""
    return Price(billed(channel, text), each, currency) if each else Price(0, Decimal(0), "")


def billed(channel: str, text: str) -> int:
    """Only an SMS has parts: whatever else carries a text carries it in one piece."""
    return count(text).parts if channel == "sms" else 1


def count(text: str) -> Counted:
    """An empty text is one part too."""
    encoding = GSM7 if all(char in BASIC or char in EXTENSION for char in text) else UCS2
    sizes = [_size(char, encoding) for char in text]
    units = sum(sizes)
    return Counted(encoding, units, 1 if units <= ALONE[encoding] else _parts(sizes, TOGETHER[encoding]))


def _size(char: str, encoding: str) -> int:
    if encoding == GSM7:
        return 2 if char in EXTENSION else 1
    return 2 if ord(char) > 0xFFFF else 1


def _parts(sizes: Iterable[int], room: int) -> int:
    parts, filled = 1, 0
    for size in sizes:
        if filled + size > room:
            parts, filled = parts + 1, 0
        filled += size
    return parts
