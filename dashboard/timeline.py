"""A message's timeline in words: made of what `tracking.services.lookup.timeline` found. Pure; used by the admin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dashboard import words
from providers.base import FailureClass
from tracking.statuses import Decision, FactKind

LATE = 60.0  # seconds between what happened and our learning of it that are worth a word

# What happened → its title, and the tone (of tokens.css) that it is shown in.
EVENTS: dict[str, tuple[str, str]] = {
    FactKind.ACCEPTED: ("Taken by {provider}", "sent"),
    FactKind.DEFERRED: ("{provider} is still trying", "processing"),
    FactKind.DELIVERED: ("Delivered", "delivered"),
    FactKind.BOUNCED: ("Bounced", "bounced"),
    FactKind.FAILED: ("Failed", "failed"),
    FactKind.OPENED: ("Opened", "read"),
    FactKind.CLICKED: ("Clicked", "read"),
    FactKind.READ: ("Read", "read"),
    FactKind.COMPLAINED: ("The recipient complained", "failed"),
    FactKind.UNSUBSCRIBED: ("The recipient unsubscribed", "bounced"),
    FactKind.OTHER: ("A receipt that changes nothing", "cancelled"),
    FactKind.OUTCOME_UNKNOWN: ("The outcome is not known", "unknown"),
}
DECISIONS: dict[str, tuple[str, str]] = {
    Decision.QUEUE: ("Taken in, to be sent", "pending"),
    Decision.FOLLOW: ("Taken in: sent elsewhere, its receipts are followed", "pending"),
    Decision.RETRY: ("Another attempt was scheduled", "processing"),
    Decision.NEXT_LEG: ("The next route is taken", "processing"),
    Decision.OPERATOR_RETRY: ("Sent again by hand", "processing"),
    Decision.GIVE_UP: ("Given up: no attempts are left", "failed"),
    Decision.CANCEL: ("Cancelled", "cancelled"),
    Decision.EXPIRE: ("Expired: its time to be sent had passed", "failed"),
    Decision.SUPPRESS: ("Not sent: the recipient is on the suppression list", "failed"),
    Decision.REJECT: ("Could not be sent", "failed"),
}
SOURCES = {
    "api": "an application",
    "tracker": "an application, by DeliveryTracker",
    "admin": "an operator",
    "dispatch": "the dispatcher",
    "provider": "a receipt",
    "job": "a scheduled job",
    "engagement": "the recipient’s own device",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline."""

    at: datetime
    title: str
    tone: str
    who: str  # who says or did so
    attempt: int | None
    code: str
    text: str  # the vendor's own words
    notes: tuple[str, ...]
    detail: tuple[tuple[str, str], ...]
    inbound_id: UUID | None
    related: str  # another message: the copy of this one, or what this one is a copy of


def entries(found: Iterable[Mapping[str, Any]]) -> list[Entry]:
    shapes = list(found)
    through = {shape["attempt"]: shape["provider"] for shape in shapes if shape["type"] == "attempt"}
    return [_entry({**shape, "provider": shape["provider"] or through.get(shape["attempt"])}) for shape in shapes]


def _entry(shape: Mapping[str, Any]) -> Entry:
    title, tone = _attempt(shape) if shape["type"] == "attempt" else _title(shape)
    detail = dict(shape.get("detail") or {})
    related = detail.pop("sent_as", None) or detail.pop("copy_of", None)
    return Entry(
        at=shape["at"],
        title=title,
        tone=tone,
        who=_who(shape),
        attempt=shape["attempt"] if shape["type"] == "event" else None,
        code=shape.get("code") or "",
        text=shape.get("text") or "",
        notes=tuple(_notes(shape)),
        detail=tuple((str(name), str(value)) for name, value in detail.items()),
        inbound_id=shape.get("receipt_id"),
        related=str(related or ""),
    )


def _attempt(shape: Mapping[str, Any]) -> tuple[str, str]:
    how = "handed to" if shape["source"] == "dispatch" else "handed over elsewhere, through"
    return f"Attempt {shape['attempt']}: {how} {_provider(shape)}", "processing"


def _title(shape: Mapping[str, Any]) -> tuple[str, str]:
    detail = shape.get("detail") or {}
    if "sent_as" in detail:
        return "Sent again, as a new message", "processing"
    if "copy_of" in detail:
        return "Taken in, as a copy of another message", "pending"
    if shape["kind"] == FactKind.OTHER and shape["source"] == "admin":
        return "Something was done about it", "cancelled"
    known = DECISIONS if shape["type"] == "decision" else EVENTS
    title, tone = known.get(shape["kind"], (shape["kind"].replace("_", " ").capitalize(), "cancelled"))
    title = title.replace("{provider}", _provider(shape))
    if shape["kind"] == Decision.FOLLOW and shape["attempt"]:
        title = "Nothing more is to be sent: its receipts are followed"
    why = "" if shape["kind"] == FactKind.OUTCOME_UNKNOWN else _why(shape)
    machine = ", by a machine" if shape.get("machine") else ""
    return title + machine + (f": {why}" if why else ""), tone


def _why(shape: Mapping[str, Any]) -> str:
    """A hard bounce says all there is to say; a failure is named by its class."""
    if shape.get("bounce"):
        return f"{shape['bounce']} ({words.reason(shape['bounce'])})"
    return words.failure(shape["failure"]) if shape.get("failure") in set(FailureClass) else ""


def _provider(shape: Mapping[str, Any]) -> str:
    return str(shape.get("provider") or "the provider")


def _who(shape: Mapping[str, Any]) -> str:
    detail = shape.get("detail") or {}
    if shape["source"] == "admin" and detail.get("user"):
        return str(detail["user"])
    if shape["source"] == "api" and detail.get("key"):
        return f"API key pr_{detail['key']}_…"
    if shape["source"] == "api" and detail.get("login"):
        return f"login {detail['login']}"
    if shape["source"] == "provider" and shape.get("provider"):
        return f"receipt of {shape['provider']}"
    return SOURCES.get(shape["source"], str(shape["source"]))


def _notes(shape: Mapping[str, Any]) -> Iterable[str]:
    if finished := shape.get("finished_at"):
        yield f"the call took {(finished - shape['at']).total_seconds():.3f} s"
    if reference := shape.get("provider_message_id"):
        yield f"the provider’s id is {reference}"
    detail = shape.get("detail") or {}
    if "bulk_operation" in detail:
        yield f"bulk operation {detail['bulk_operation']}: {detail.get('why', '')}"
    late = (shape["recorded_at"] - shape["at"]).total_seconds()
    if late >= LATE:
        yield f"learnt {words.span(late)} later"
    said = shape.get("said_at")
    if said is not None and said != shape["at"]:
        yield f"the receipt itself says {words.exact(said)}"
