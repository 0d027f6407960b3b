"""The lines of a Pushwoosh tracking log: from a message's recorded events to its words and its CSV. Pure.

A line for each event. What came between two attempts of a message that is sent again is none: it has not failed yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from tracking.statuses import Decision, FactKind

HEADER = "//timestamp;tracking_code;target_id;hwid;status;description;appCode;payload\n"
SUCCESS = "Success"

# kind of an event → its word; what is not named here has no line
WORDS: Mapping[str, str] = {
    Decision.QUEUE: "created",
    Decision.FOLLOW: "created",  # it was sent elsewhere: the first decision says so
    FactKind.ACCEPTED: "delivered",  # its word for "the gateway took it"
    FactKind.DELIVERED: "delivered",
    FactKind.OPENED: "opened",
    FactKind.CLICKED: "opened",
    FactKind.READ: "opened",
    FactKind.FAILED: "failed",
    FactKind.BOUNCED: "failed",
    Decision.CANCEL: "failed",
    Decision.EXPIRE: "failed",
    Decision.SUPPRESS: "failed",
    Decision.REJECT: "failed",
}
SENT = "sent"  # an attempt: the message was handed over
_ORDER = {"created": 0, SENT: 1, "delivered": 2, "opened": 3, "failed": 4}  # of what happened at the same moment
AGAIN = frozenset({Decision.RETRY.value})
_FAILURES = frozenset({FactKind.FAILED.value, FactKind.BOUNCED.value})


class Happened(NamedTuple):
    """An event, or with the kind "" the start of an attempt."""

    at: datetime
    kind: str
    attempt: int = 0
    decision: int | None = None  # its place among the message's decisions
    machine: bool = False
    why: str = ""  # the failure or bounce class
    code: str = ""
    text: str = ""


class Pushed(NamedTuple):
    """What all lines of a message say."""

    code: str
    target: str
    hwid: str
    application: str
    payload: str


def lines(pushed: Pushed, happened: Collection[Happened], since: datetime, until: datetime) -> Iterator[str]:
    """Of what happened in [since, until), in its order."""
    again = {each.attempt for each in happened if each.kind in AGAIN}
    told = [(each.at, _ORDER[word], word, each) for each in happened if (word := _word(each, again))]
    for at, _, word, each in sorted(told):
        if since <= at < until:
            yield _line(pushed, each, word)


def _word(each: Happened, again: Collection[int]) -> str:
    if not each.kind:
        return SENT
    if each.machine or (each.kind in _FAILURES and each.attempt in again):
        return ""
    if each.kind == Decision.FOLLOW and each.decision != 1:  # a receipt made a waiting retry needless
        return ""
    return WORDS.get(each.kind, "")


def _line(pushed: Pushed, each: Happened, word: str) -> str:
    told = " ".join(part for part in (each.code, each.text) if part)
    why = (each.why or each.kind) if word == "failed" else ""
    description = f"{why}: {told}" if why and told else why or SUCCESS
    cells = (pushed.code, pushed.target, pushed.hwid, word, description, pushed.application)
    stamp = each.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return ";".join((_quoted(stamp), *map(_cell, cells), _quoted(pushed.payload))) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _cell(text: str) -> str:
    return _quoted(text) if any(sign in text for sign in ';"\r\n') else text


def payload(body: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """What was pushed, from the message's content; {} once that is gone."""
    if not body:
        return "{}"
    text, title = body.get("text", ""), body.get("subject", "")
    data = dict(body.get("data", {}))
    pushed: dict[str, Any] = {"aps": {"alert": {"title": title, "body": text} if title else text}}
    if link := data.pop("link", None):
        pushed["l"] = link
    if data:
        pushed["u"] = data
    settings = {name: value for name, value in meta.items() if name not in ("target", "hwid")}
    return orjson.dumps(pushed | settings | {"pw_msg": "1"}).decode()


def target_of(meta: Mapping[str, Any], recipient: str) -> str:
    """How the client named the device."""
    return str(meta.get("target") or recipient)
