"""What a message carries so that its recipient's doings are known: pixel, links, headers, the app's callback. Called by
dispatch, at each hand-over.

At hand-over, and not when it is handed in: the stored content stays as it was given (a copy of it, a preview, another
channel's fallback), the project's settings of that moment count, and what comes back names the very attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from django.utils.encoding import iri_to_uri

from providers.base import Channel, Outbound
from tracking import store
from tracking.engagement import html, projects, text, tokens
from tracking.engagement.projects import Wishes
from tracking.engagement.tokens import Handed, Use
from tracking.rows import AttemptRow, MessageRow

log = logging.getLogger(__name__)

MAX_LINKS = 1_000  # of one message; further ones stay as they are
MAX_TARGET = 2_000  # characters; longer ones stay as they are
CALLBACK = "postroom_callback"  # where the app finds its address, in a push message's data
UNSUBSCRIBE = "postroom:unsubscribe"  # a link to here in the mail's HTML leads to its unsubscribe page
_TRACKED = {"message_id": "uuid", "attempt": "smallint", "purpose": "text", "targets": "text[]"}
_SHORT = {"message_id": "uuid", "attempt": "smallint", "link": "smallint", "code": "text"}


@dataclass(slots=True)
class Links:
    """The targets of one hand-over, numbered as they come."""

    handed: Handed
    base: str
    address: Callable[[Handed], str]
    apart: frozenset[str] = frozenset()  # these stay as they are
    _numbers: dict[str, int] = field(default_factory=dict)

    @property
    def targets(self) -> list[str]:
        return list(self._numbers)

    def of(self, found: str) -> str | None:
        """The address that stands for a link, or None where it stays as it is."""
        number = self._numbers.get(found, len(self._numbers))
        if number >= MAX_LINKS:
            return None
        if number == len(self._numbers):
            if found in self.apart or not _trackable(found) or found.startswith(f"{self.base}/"):
                return None
            self._numbers[found] = number
        return self.address(self.handed._replace(link=number))


class Wardrobe:
    """The hand-overs of one claim: what they carry, and what must be stored before they are made."""

    def __init__(self) -> None:
        self._tracked: list[dict[str, Any]] = []
        self._short: list[dict[str, Any]] = []

    def dressed(self, outbound: Outbound, row: MessageRow, attempt: AttemptRow, body: dict[str, Any]) -> Outbound:
        """Never raises: a message that cannot be tracked is sent as it is."""
        wishes = projects.of(row.project_id)
        if wishes is None:
            return outbound
        dress = {Channel.EMAIL: self._mail, Channel.SMS: self._short_text, Channel.PUSH: self._push}
        try:
            made = dress.get(outbound.channel)
            handed = Handed(row.id, attempt.number)
            return made(outbound, handed, _wanted(wishes, body), body.get("purpose", "")) if made else outbound
        except Exception:
            log.exception("message %s is sent untracked", row.id)
            return outbound

    def writes(self) -> list[store.Write]:
        """Where the addresses lead, for the transaction that puts the attempts on record."""
        return [
            store.inserted("engagement_tracked", _TRACKED, self._tracked, tail="ON CONFLICT DO NOTHING"),
            store.inserted("engagement_short_link", _SHORT, self._short, tail="ON CONFLICT DO NOTHING"),
        ]

    def _keep(self, handed: Handed, purpose: str, targets: list[str]) -> None:
        self._tracked.append(
            {"message_id": handed.message_id, "attempt": handed.attempt, "purpose": purpose, "targets": targets}
        )

    def _mail(self, outbound: Outbound, handed: Handed, wishes: Wishes, purpose: str) -> Outbound:
        if not (wishes.opens or wishes.clicks or wishes.unsubscribe):
            return outbound
        own = {name.lower(): value for name, value in outbound.headers.items()}
        leave = f"{wishes.base}/u/{tokens.sign(Use.UNSUBSCRIBE, handed)}" if wishes.unsubscribe else ""
        links = Links(
            handed,
            wishes.base,
            lambda link: f"{wishes.base}/c/{tokens.sign(Use.CLICK, link)}",
            apart=frozenset(each.strip(" <>") for each in own.get("list-unsubscribe", "").split(",")),
        )

        def of(found: str) -> str | None:
            if leave and found == UNSUBSCRIBE:
                return leave
            return links.of(found) if wishes.clicks else None

        pixel = _PIXEL.format(wishes.base, tokens.sign(Use.OPEN, handed)) if wishes.opens else ""
        body = html.rewritten(outbound.html, of=of, pixel=pixel) if outbound.html else ""
        if leave or links.targets:
            self._keep(handed, purpose, links.targets)
        # a copy's reader would unsubscribe somebody else; and whoever brings a header knows how to honour it
        headed = leave and not (outbound.cc or outbound.bcc or "list-unsubscribe" in own)
        return replace(
            outbound, html=body, headers=_with_leave(outbound.headers, leave) if headed else outbound.headers
        )

    def _short_text(self, outbound: Outbound, handed: Handed, wishes: Wishes, purpose: str) -> Outbound:
        if not wishes.short_links:
            return outbound
        links = Links(handed, wishes.base, lambda link: f"{wishes.base}/l/{tokens.code(link)}")
        shortened = text.rewritten(outbound.text, of=links.of)
        if not links.targets:
            return outbound
        self._keep(handed, purpose, links.targets)
        for number in range(len(links.targets)):
            link = handed._replace(link=number)
            named = {"message_id": link.message_id, "attempt": link.attempt, "link": number}
            self._short.append({**named, "code": tokens.code(link)})
        return replace(outbound, text=shortened)

    def _push(self, outbound: Outbound, handed: Handed, wishes: Wishes, purpose: str) -> Outbound:
        if not wishes.push_callbacks:
            return outbound
        callback = f"{wishes.base}/p/{tokens.sign(Use.PUSH, handed)}"
        return replace(outbound, data={CALLBACK: callback, **outbound.data})


_PIXEL = '<img src="{}/o/{}.gif" width="1" height="1" alt="">'


def _with_leave(headers: Mapping[str, str], leave: str) -> dict[str, str]:
    """RFC 8058: the address, and that a POST to it is enough."""
    others = {name: value for name, value in headers.items() if name.lower() != "list-unsubscribe-post"}
    return {**others, "List-Unsubscribe": f"<{leave}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def _wanted(wishes: Wishes, body: dict[str, Any]) -> Wishes:
    """What the project wants and the message does not turn off."""
    said = body.get("tracking") or {}
    opens, clicks = said.get("opens", True), said.get("clicks", True)
    return replace(
        wishes,
        opens=wishes.opens and opens,
        clicks=wishes.clicks and clicks,
        unsubscribe=wishes.unsubscribe and said.get("unsubscribe", True),
        short_links=wishes.short_links and clicks,
        push_callbacks=wishes.push_callbacks and opens,
    )


def _trackable(found: str) -> bool:
    """An address of the web that a redirect can name."""
    if not found[:8].lower().startswith(("http://", "https://")) or not found.isprintable() or " " in found:
        return False
    try:
        return bool(urlsplit(found).hostname) and len(iri_to_uri(found)) <= MAX_TARGET
    except ValueError:
        return False
