"""Reading the events of the HTTP gateway, whatever is in them. Pure; called by its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from providers.base import UNREADABLE, BounceClass, Classification, FailureClass, ParseFailed, Receipt, ReceiptKind
from providers.classify import classify, statuses_in
from providers.text import clean

MAX_EVENTS = 1000
MAX_DETAIL = 20  # entries

_KINDS = {kind.value: kind for kind in ReceiptKind if kind is not ReceiptKind.OTHER}
_BOUNCE_OF = {
    FailureClass.INVALID_RECIPIENT: BounceClass.HARD,
    FailureClass.BLOCKED: BounceClass.BLOCK,
    FailureClass.PERMANENT: BounceClass.UNDETERMINED,
    FailureClass.AMBIGUOUS: BounceClass.UNDETERMINED,
}


def bounce_of(failure: FailureClass) -> BounceClass:
    """What a gateway means that names a class but no kind of bounce."""
    return _BOUNCE_OF.get(failure, BounceClass.SOFT)


def read_all(events: Any) -> list[Receipt]:
    """One for each event. An event that cannot be read does not take the others down with it."""
    if not isinstance(events, list) or len(events) > MAX_EVENTS:
        raise ParseFailed(f"events is not a list of at most {MAX_EVENTS}")
    receipts = [_one(event) for event in events]
    if events and all(receipt.word == UNREADABLE for receipt in receipts):
        raise ParseFailed(receipts[0].text)
    return receipts


def _one(event: Any) -> Receipt:
    try:
        return _read(event)
    except (ValueError, TypeError, OverflowError) as error:
        named = event if isinstance(event, dict) else {}
        echo, reference = clean(named.get("echo")), clean(named.get("reference"))
        text = clean(str(error))
        return Receipt(ReceiptKind.OTHER, None, echo, reference, word=UNREADABLE, text=text, known=False)


def _read(event: Any) -> Receipt:
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise ValueError("an event without a type")
    kind = _KINDS.get(event["type"], ReceiptKind.OTHER)
    final = kind in (ReceiptKind.BOUNCED, ReceiptKind.FAILED)
    found = _failure(event) if final else Classification()
    return Receipt(
        kind=kind,
        occurred_at=_time(event.get("occurred_at")),
        echo=clean(event.get("echo")),
        reference=clean(event.get("reference")),
        recipient=clean(event.get("recipient")),
        event_id=clean(event.get("id")),
        word=clean(event["type"], 100),
        code=clean(event.get("code")),
        text=clean(event.get("text")),
        failure=found.failure if final else None,
        bounce=found.bounce if final else None,
        suppress=found.suppress if final else bool(event.get("suppress")),
        machine=event.get("machine") is True,
        known=event["type"] in _KINDS and found.known,
        detail=_detail(event.get("detail")),
    )


def _failure(event: Mapping[str, Any]) -> Classification:
    """What the gateway says, completed by what its code and text are known to mean."""
    code, text = clean(event.get("code")), clean(event.get("text"))
    reply, enhanced = statuses_in(f"{code} {text}")
    found = classify("http", enhanced=enhanced, reply=reply, text=text)
    failure = FailureClass(event["class"]) if event.get("class") else None
    bounce = BounceClass(event["bounce"]) if event.get("bounce") else None
    said = failure is not None or bounce is not None
    hard = bounce is BounceClass.HARD or (bounce is None and failure is FailureClass.INVALID_RECIPIENT)
    return Classification(
        failure=failure or (FailureClass.INVALID_RECIPIENT if hard else found.failure),
        bounce=bounce or (bounce_of(failure) if failure else found.bounce),
        suppress=event["suppress"] is True if "suppress" in event else hard if said else found.suppress,
        known=said or found.known,
    )


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC)
        except OSError as error:
            raise ValueError("occurred_at is out of range") from error
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError("occurred_at has no time zone")
    return found


def _detail(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {clean(name, 50): clean(item, 255) for name, item in list(value.items())[:MAX_DETAIL]}
