"""SMSBat's send request: a list of messages, each with an answer of its own. Called by its interface."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tracking import parts, smsbat_schema
from tracking.schema import Invalid
from tracking.services import route, submit
from tracking.services.submit import Sender
from tracking.smsbat_schema import BatMessage, Fault, Faulty
from tracking.statuses import Status

_FIELDS = {
    "recipient": "to",
    "sender": "from",
    "channel": "type",
    "provider": "type",
    "external_id": "customerMessageId",
}
_CODES = {"to": "INVALID_RECIPIENT", "from": "INVALID_SENDER"}


def send(sender: Sender, document: Any) -> dict[str, Any]:
    """What is right is taken; what is wrong says why. Raises Faulty where nothing is right, clock.ClockWrong."""
    now = datetime.now(UTC)
    items = smsbat_schema.items(document)
    looked = [_looked_at(sender, item, index, now) for index, item in enumerate(items)]
    right = {place: found for place, found in enumerate(looked) if not isinstance(found, Fault)}
    answers: dict[int, dict[str, Any]] = {}
    batch = None
    if right:
        batch = _submit(replace(sender, counted=True), right, answers)
    answers |= {place: _rejected(fault) for place, fault in enumerate(looked) if isinstance(fault, Fault)}
    if batch is None:  # the first ones only may have an answer then
        first = answers[min(answers)]["error"]
        raise Faulty(Fault(first["code"], first["message"], first.get("field", "")))
    for place, found in answers.items():
        if "error" in found:
            found |= _echo(items[place])
    return {"messagelistId": batch, "messages": [answers[place] for place in sorted(answers)]}


Right = tuple[BatMessage, dict[str, Any]]


def _looked_at(sender: Sender, item: dict[str, Any], index: int, now: datetime) -> Right | Fault:
    found = smsbat_schema.message(item, index, sender.default_region)
    if isinstance(found, Fault):
        return found
    provider = None if found.type == "sms" else _account(sender.project_id, found.carrier)
    if provider == "":
        field = f"messages[{index}].type"
        return Fault("INVALID_REQUEST", f"{field}: no enabled account for it is granted to this project", field)
    return found, found.native(now, provider)


def _account(project_id: int, carrier: str) -> str:
    """The account that carries it: the first healthy one, those that carry nothing else before those that carry all."""
    now = datetime.now(UTC)
    usable = [each for each in route.granted(project_id) if each.channel == "chat" and each.enabled]
    usable = [each for each in usable if each.service == carrier] or [each for each in usable if not each.service]
    return next((each.code for each in usable if each.healthy(now)), usable[0].code if usable else "")


def _submit(sender: Sender, right: dict[int, Right], answers: dict[int, dict[str, Any]]) -> int | None:
    """The list's number; None: none of them could be taken. `answers` is filled."""
    places = list(right)
    try:
        taken = submit.submit_batch(sender, {"notifications": [native for _, native in right.values()]})
    except Invalid as invalid:
        for error in reversed(invalid.errors):  # the first one of each counts
            _, index, *steps = error.pointer.split("/")[1:]
            place = places[int(index)]
            answers[place] = _rejected(_fault(place, "/".join(["", *steps]), error.detail))
        return None
    for shape in taken["notifications"]:
        place = places[shape["index"]]
        if "id" in shape:
            answers[place] = _taken(right[place][0], shape)
        else:
            first = shape["error"]["errors"][0]
            answers[place] = _rejected(_fault(place, first["pointer"], first["detail"]))
    batch: int = taken["batch_id"]
    return batch


def _taken(asked: BatMessage, shape: dict[str, Any]) -> dict[str, Any]:
    answer = {
        "messageId": str(shape["id"]),
        "status": "failed" if shape["status"] == Status.FAILED else "accepted",
        "parts": parts.billed(asked.channel, asked.text),
        "customerMessageId": asked.customer_message_id or None,
        "to": asked.to,
    }
    return answer | {"ttl": asked.lifetime} if asked.type == "flashcall" else answer


def _rejected(fault: Fault) -> dict[str, Any]:
    return {"messageId": None, "status": "rejected", "parts": 0, "error": fault.shape()}


def _echo(item: dict[str, Any]) -> dict[str, Any]:
    """By which the caller knows a message again that has no id: as it was sent, for it may not even be valid."""
    values = {name: item.get(name) for name in ("customerMessageId", "to")}
    return {name: value if isinstance(value, str) else None for name, value in values.items()}


def _fault(place: int, pointer: str, detail: str) -> Fault:
    name = pointer.split("/")[1] if "/" in pointer else ""
    name = _FIELDS.get(name, name)
    field = f"messages[{place}].{name}" if name else f"messages[{place}]"
    return Fault(_CODES.get(name, "INVALID_REQUEST"), f"{field}: {detail}", field)
