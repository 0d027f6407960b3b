"""What the page of one raw request shows. Reads only; called by the admin."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import orjson

from providers.base import HookRequest, ParseFailed, Receipt
from tracking import accounts, ids
from tracking.models import Attempt, Event, Inbound

SHOWN = 64 * 1024  # bytes of a body
SHOWN_RECEIPTS = 200
_TOKEN = re.compile(r"/hooks/[^/?#]+")  # who knows it can pass for the provider
_PROOFS = ("authorization", "cookie")
_TEXT = ("text/", "application/x-www-form-urlencoded", "message/", "multipart/")


def context(request: Inbound) -> dict[str, Any]:
    body = bytes(request.body)
    bound = accounts.by_id(request.account_id)
    kind, shown = body_text(body, str(dict(request.headers).get("content-type", "")))
    receipts, unread = read_receipts(request, body)
    return {
        "title": "Inbound request",
        "inbound": request,
        "received_at": ids.time_of(request.pk),
        "account": bound.account if bound else None,
        "url": _TOKEN.sub("/hooks/…", request.url),
        "headers": sorted((name, _shown(name, value)) for name, value in dict(request.headers).items()),
        "body": shown,
        "body_kind": kind,
        "body_size": len(body),
        "body_cut": len(body) > SHOWN,
        "receipts": receipts[:SHOWN_RECEIPTS],
        "receipts_in_all": len(receipts),
        "unread": unread,
        "events": _events(request.pk, request.account_id, receipts[:SHOWN_RECEIPTS]),
    }


def _shown(name: str, value: Any) -> str:
    return "(secret)" if name.lower() in _PROOFS else str(value)


def body_text(body: bytes, content_type: str) -> tuple[str, str]:
    """How the body is shown, and its text: JSON indented, text decoded, everything else as hexadecimal."""
    cut = body[:SHOWN]
    if len(body) <= SHOWN:
        try:
            return "JSON", orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
        except (orjson.JSONDecodeError, TypeError):  # or nested deeper than can be written again
            pass
    try:
        text = cut.decode("utf-8", "replace" if content_type.startswith(_TEXT) else "strict")
    except UnicodeDecodeError:
        return "hexadecimal", _hex(cut)
    return ("hexadecimal", _hex(cut)) if "\x00" in text else ("text", text)


def _hex(body: bytes) -> str:
    lines = []
    for start in range(0, len(body), 16):
        row = body[start : start + 16]
        printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:06x}  {row.hex(' '):<47}  {printable}")
    return "\n".join(lines)


def read_receipts(request: Inbound, body: bytes) -> tuple[list[Receipt], str]:
    """What the adapter reads in the request today; else why it cannot."""
    bound = accounts.by_id(request.account_id)
    if bound is None:
        return [], "the account is gone or its credentials cannot be opened"
    received_at = ids.time_of(request.pk)
    try:
        return bound.adapter.parse(
            HookRequest(request.method, request.url, dict(request.headers), body, received_at)
        ), ""
    except ParseFailed as error:
        return [], str(error)
    except Exception as error:  # an adapter's bug is what an operator wants to see here
        return [], f"{type(error).__name__}: {error}"


def _events(inbound_id: UUID, account_id: int, receipts: list[Receipt]) -> list[Event]:
    """The events that came from the request: sought through the messages that its receipts name, as no index leads from
    a request to its events."""
    keys = {found[0] for receipt in receipts if (found := ids.from_echo(receipt.echo))}
    references = [receipt.reference for receipt in receipts if receipt.reference]
    if references:
        known = Attempt.objects.filter(account_id=account_id, reference__in=references).exclude(reference="")
        keys |= set(known.values_list("message_id", flat=True)[: 2 * SHOWN_RECEIPTS])
    if not keys:
        return []
    return list(Event.objects.filter(message_id__in=keys, inbound_id=inbound_id).order_by("message_id", "occurred_at"))
