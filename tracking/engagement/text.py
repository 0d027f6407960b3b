"""Finds the links of a plain text, and puts others into their place. Pure; used by services.dress."""

from __future__ import annotations

import re
from collections.abc import Callable

_LINK = re.compile(r"\bhttps?://[^\s<>\"]+", re.IGNORECASE)
_AFTER = ".,;:!?'»”’"  # of the sentence, not of the link


def rewritten(text: str, *, of: Callable[[str], str | None]) -> str:
    """`of`: an address → the one that is to stand for it, or None."""

    def other(found: re.Match[str]) -> str:
        link = _link(found.group())
        new = of(link)
        return found.group() if new is None else new + found.group()[len(link) :]

    return _LINK.sub(other, text)


def _link(found: str) -> str:
    """Without what follows it; a closing bracket belongs to it where it opens one. Linear."""
    too_many = {")": found.count(")") - found.count("("), "]": found.count("]") - found.count("[")}
    end = len(found)
    while end:
        last = found[end - 1]
        if too_many.get(last, 0) > 0:
            too_many[last] -= 1
        elif last not in _AFTER:
            break
        end -= 1
    return found[:end]
