"""Who allows what: consents by recipient and purpose, set by applications and withdrawn by recipients; asked, together
with the suppression list, before anything is sent. Called by submit, dispatch, the API, visits and the console.

A message that names no purpose asks nobody's consent. One that does is sent unless the consent for it was withdrawn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from tracking.models import Consent, ConsentChange, ConsentState
from tracking.services import suppress
from tracking.services.suppress import address_hash
from tracking.store import Condition


class Asked(NamedTuple):
    """To whom, and what for."""

    channel: str
    recipient: str
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class By:
    """Who changes a consent."""

    source: str  # api, admin, engagement
    who: str = ""
    message_id: UUID | None = None
    note: str = ""  # an operator's reason


# --- asked before sending

_WITHDRAWN = (
    "SELECT FROM tracking_consent WHERE project_id = %s AND channel = %s AND address_hash = %s AND purpose = %s"
    " AND state = 'withdrawn'"
)


def stopping(project_id: int, asked: Asked) -> Condition:
    """Holds where that recipient is not to be sent to: for a statement that asks and writes in one."""
    listed = suppress.listed(project_id, asked.channel, asked.recipient)
    if not asked.purpose:
        return listed
    key = address_hash(asked.channel, asked.recipient)
    params = (*listed.params, project_id, asked.channel, key, asked.purpose)
    return Condition(f"{listed.query} UNION ALL {_WITHDRAWN}", params)


def stopped(project_id: int, asked: Collection[Asked]) -> dict[Asked, str]:
    """Those who are not to be sent to, and why; "" where the suppression list says so."""
    listed = suppress.suppressed(project_id, {(each.channel, each.recipient) for each in asked}) if asked else set()
    found = {each: "" for each in asked if (each.channel, each.recipient) in listed}
    purposeful = [each for each in asked if each.purpose and each not in found]
    withdrawn = _withdrawn(project_id, purposeful) if purposeful else set()
    return found | {each: f"consent for the purpose “{each.purpose}” was withdrawn" for each in withdrawn}


def _withdrawn(project_id: int, asked: Sequence[Asked]) -> set[Asked]:
    keys = [(each.channel, address_hash(each.channel, each.recipient), each.purpose) for each in asked]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.channel, c.address_hash, c.purpose FROM tracking_consent c"
            " JOIN unnest(%s::text[], %s::bytea[], %s::text[]) AS a (channel, address_hash, purpose)"
            " USING (channel, address_hash, purpose) WHERE c.project_id = %s AND c.state = 'withdrawn'",
            [*map(list, zip(*keys, strict=True)), project_id],
        )
        found = {(channel, bytes(key), purpose) for channel, key, purpose in cursor.fetchall()}
    return {each for each, key in zip(asked, keys, strict=True) if key in found}


# --- set and read


def put(*, project_id: int, wanted: Sequence[tuple[Asked, ConsentState]], by: By) -> list[dict[str, Any]]:
    """Set each of them; what stands already is no change and makes no history. The consents, in the order given."""
    now = datetime.now(UTC)
    states = {_key(asked): (asked, state) for asked, state in wanted}
    with transaction.atomic():
        known = _locked(project_id, [asked for asked, _ in states.values()])
        rows = [
            Consent(
                project_id=project_id,
                channel=asked.channel,
                address_hash=key[1],
                address=asked.recipient,
                purpose=asked.purpose,
                state=state,
                changed_at=now,
            )
            for key, (asked, state) in sorted(states.items())  # one order for all: no two calls wait for each other
            if key not in known or known[key].state != state or not known[key].address
        ]
        changed = [row for row in rows if _of(row) not in known or known[_of(row)].state != row.state]
        Consent.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["project", "channel", "address_hash", "purpose"],
            update_fields=["state", "changed_at", "address"],
        )
        ConsentChange.objects.bulk_create(
            ConsentChange(
                **{"consent_id": row.pk, "state": row.state, "at": now},
                **{"source": by.source, "who": by.who, "message_id": by.message_id, "note": by.note},
            )
            for row in changed
        )
    standing = known | {_of(row): row for row in rows}
    return [shape(standing[_key(asked)]) for asked, _ in wanted]


@transaction.atomic
def remove(*, project_id: int, asked: Asked, by: By) -> bool:
    """Nothing is known of it any more. False where nothing was."""
    found = _locked(project_id, [asked]).get(_key(asked))
    if found is None or found.state == ConsentState.REMOVED:
        return False
    put(project_id=project_id, wanted=[(asked, ConsentState.REMOVED)], by=by)
    return True


def of_recipient(*, project_id: int, channel: str, recipient: str, purpose: str | None = None) -> list[dict[str, Any]]:
    """What one recipient has said, by purpose."""
    key = address_hash(channel, recipient)
    found = Consent.objects.filter(project_id=project_id, channel=channel, address_hash=key)
    if purpose is not None:
        found = found.filter(purpose=purpose)
    return [shape(row) for row in found.exclude(state=ConsentState.REMOVED).order_by("purpose")]


def page(*, project_id: int, purpose: str | None, before: int | None, limit: int) -> tuple[list[dict[str, Any]], int]:
    """Consents of a project, newest first, and where the next page begins (0: nowhere)."""
    found = Consent.objects.filter(project_id=project_id)
    if purpose is not None:
        found = found.filter(purpose=purpose)
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found.order_by("-pk")[: limit + 1])
    shapes = [shape(row) for row in rows[:limit] if row.state != ConsentState.REMOVED]
    return shapes, rows[limit - 1].pk if len(rows) > limit else 0


def shape(row: Consent) -> dict[str, Any]:
    return {
        "channel": row.channel,
        "recipient": row.address or None,
        "purpose": row.purpose,
        "state": row.state,
        "changed_at": row.changed_at,
    }


Key = tuple[str, bytes, str]


def _key(asked: Asked) -> Key:
    return asked.channel, address_hash(asked.channel, asked.recipient), asked.purpose


def _of(row: Consent) -> Key:
    return row.channel, bytes(row.address_hash), row.purpose


def _locked(project_id: int, asked: Sequence[Asked]) -> dict[Key, Consent]:
    wanted = {_key(each) for each in asked}  # an address has one hash: all that is found beside them is its own
    found = Consent.objects.filter(
        project_id=project_id,
        channel__in={channel for channel, _, _ in wanted},
        address_hash__in={key for _, key, _ in wanted},
        purpose__in={purpose for _, _, purpose in wanted},
    )
    return {_of(row): row for row in found.order_by("pk").select_for_update() if _of(row) in wanted}
