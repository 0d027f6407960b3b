"""From a message's stored content to what an adapter is handed. Called by dispatch.

Content.body holds the request's own fields; an absent one is empty. Attachments carry their content as base64.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from email.utils import getaddresses
from typing import Any

from providers.base import Attachment, Channel, Outbound
from tracking import ids
from tracking.rows import AttemptRow, MessageRow


def outbound(row: MessageRow, attempt: AttemptRow, body: dict[str, Any], channel: Channel) -> Outbound:
    body = of_leg(body, attempt.leg)
    return Outbound(
        echo=ids.echo(row.id, attempt.number),
        idempotency_key=attempt.idempotency_key,
        channel=channel,
        recipient=row.address(attempt.leg)[1],
        sender=body.get("sender", ""),
        reply_to=body.get("reply_to", ""),
        cc=tuple(body.get("cc", ())),
        bcc=tuple(body.get("bcc", ())),
        headers=body.get("headers", {}),
        subject=body.get("subject", ""),
        text=body.get("text", ""),
        html=body.get("html", ""),
        data=body.get("data", {}),
        template_id=body.get("template_id", ""),
        variables=body.get("variables", {}),
        attachments=tuple(_attachment(item) for item in body.get("attachments", ())),
        tags=tuple(body.get("tags", ())),
        category=body.get("category", ""),
        metadata=body.get("metadata", {}),
    )


def of_leg(body: dict[str, Any], leg: int) -> dict[str, Any]:
    """The content of a leg: its own, and what is said of the message whatever way it takes."""
    if not leg:
        return body
    common = {name: body[name] for name in ("metadata", "category", "tags", "purpose", "tracking") if name in body}
    own: dict[str, Any] = body["fallback"][leg - 1]
    return common | own


def copied_to(body: dict[str, Any]) -> set[str]:
    """The addresses of cc and bcc, case folded."""
    entries = [*body.get("cc", ()), *body.get("bcc", ())]
    return {address.casefold() for _, address in getaddresses(entries)} if entries else set()  # mostly there are none


def without(body: dict[str, Any], listed: Collection[str]) -> dict[str, Any]:
    """Without the copies to these addresses."""
    kept: dict[str, Any] = {
        name: [entry for entry in body[name] if not {a.casefold() for _, a in getaddresses([entry])} & set(listed)]
        for name in ("cc", "bcc")
        if name in body
    }
    return {**body, **kept}


def _attachment(item: dict[str, Any]) -> Attachment:
    return Attachment(
        filename=item["filename"],
        content_type=item["content_type"],
        content=base64.b64decode(item["content"]),
        inline_id=item.get("inline_id", ""),
    )
