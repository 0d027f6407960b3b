"""The legs of a message with a fallback, as its page shows them: which were taken, when and why. Reads only; called by
message_page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dashboard import words
from providers.models import ProviderAccount
from tracking.models import Message
from tracking.services import ways
from tracking.services.ways import NOT_USED, Way, Ways
from tracking.statuses import Decision


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    leg: Way
    present: bool  # what the message goes by now
    accounts: str  # that it was handed to
    why: str  # it was taken, or was not


def context(
    message: Message, shapes: Iterable[Mapping[str, Any]], accounts: Mapping[int, ProviderAccount]
) -> dict[str, Any]:
    """`address_channel`: that of the present leg, which a retry goes by. `shapes`: the timeline."""
    if not message.fallbacks:
        return {"legs": [], "address_channel": message.channel}
    found = ways.of([message.pk])[message.pk]
    said = {shape["at"]: shape["text"] or "" for shape in shapes if shape["kind"] == Decision.NEXT_LEG}
    rows = [
        Row(leg, leg.number == found.row.leg, _accounts(found, leg.number, accounts), _why(found, leg, said))
        for leg in found.legs
    ]
    channel = next((row.leg.channel for row in rows if row.present), message.channel)
    return {"legs": rows, "twice": found.row.delivered_twice, "address_channel": channel}


def _accounts(found: Ways, number: int, accounts: Mapping[int, ProviderAccount]) -> str:
    used = dict.fromkeys(attempt.account_id for attempt in found.row.tries if attempt.leg == number)
    return ", ".join(accounts[each].code if each in accounts else f"account {each}" for each in used)


def _why(found: Ways, leg: Way, said: Mapping[Any, str]) -> str:
    if leg.number == 0:
        return "The message’s own."
    if leg.taken_at in said:  # "leg 1 (sms, esme): the leg before failed: permanent"
        text = said[leg.taken_at].partition("): ")[2] or said[leg.taken_at]
        return f"{text[:1].upper()}{text[1:]}."
    if leg.status != NOT_USED:
        return ""
    if leg.number < found.row.leg:
        return "Passed over: the timeline says why."
    if any(each.delivered for each in found.legs):
        return "Not needed: an earlier leg delivered."
    if leg.due_at:
        when = words.ago(leg.due_at) if leg.due_at > datetime.now(UTC) else "as soon as a worker looks"
        return f"It is taken {when}, unless the leg before has delivered by then."
    return "Taken only if the leg before fails, or is too slow." if leg.ttl else "Taken only if the leg before fails."
