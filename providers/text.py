"""Foreign text, made fit to be stored. Pure; called by the adapters on whatever a vendor says."""

from __future__ import annotations

from typing import Any

LIMIT = 1000


def clean(value: Any, limit: int = LIMIT) -> str:
    """A string or number as one that a database takes (no NUL, no lone surrogates), cut off; anything else is ""."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()[:limit]


def told(error: Exception) -> str:
    """What an unexpected error says, for a person."""
    return clean(f"{type(error).__name__}: {error}")
