"""Foreign text on its way into the database. Pure; called by receive and dispatch."""

from __future__ import annotations


def clean(text: str, length: int) -> str:
    """What PostgreSQL can hold of a vendor's text: no NUL, no lone surrogates, no more than the column takes."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:length]
