"""What an event's `detail` says about how it was understood. Pure; used by receive, dispatch and remap.

An event that an adapter could not classify is marked `unmapped`; once an operator's rule speaks for it, `mapped` names
the rule instead, and `told` keeps what the adapter had made of it. Two partial indexes of the event table find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.mapping import Reading

WORD, UNMAPPED, MAPPED, TOLD, COPY = "word", "unmapped", "mapped", "told", "copy"
OWN = frozenset({WORD, UNMAPPED, MAPPED, TOLD, COPY})  # a vendor's detail may not use them
_NONE = "-"


def mapped(rule_id: int, told: Reading) -> dict[str, str]:
    return {MAPPED: str(rule_id), TOLD: " ".join(part or _NONE for part in told)}


def told(detail: Mapping[str, Any], now: Reading) -> Reading:
    """What the adapter made of it: `now`, unless a rule has spoken."""
    if MAPPED not in detail:
        return now
    kind, failure, bounce = (None if part == _NONE else part for part in str(detail[TOLD]).split(" "))
    return Reading(kind or now.kind, failure, bounce)


def without(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The detail as it was before anybody spoke of mappings."""
    return {name: value for name, value in detail.items() if name not in (UNMAPPED, MAPPED, TOLD)}
