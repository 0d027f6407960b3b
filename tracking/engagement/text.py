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
    """Without what follows it; a closing bracket belongs to it where it opens one."""
    while found:
        if found[-1] in _AFTER:
            found = found.rstrip(_AFTER)
        elif found[-1] in ")]" and found.count(found[-1]) > found.count("(" if found[-1] == ")" else "["):
            found = found[:-1]
        else:
            break
    return found
