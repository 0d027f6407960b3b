"""What is due is claimed, and its attempts put on record. Called by tracking.dispatcher only.

One transaction claims queue rows of an account (under its rate limit, in-flight cap and circuit) and puts their
attempts on record; after its commit the sender threads call the provider (`handover`), and what they learned is
recorded in batches (`outcomes`). A lease fences a queue row and nothing else: a result is recorded however late it
comes, and a holder that dies is found by `reap`.

Lock order: messages in id order, then queue rows. The claim takes queue rows first, and therefore skips locked ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from django.conf import settings
from django.db import connection, transaction

from providers.base import Channel
from tracking import accounts, circuit, ids, parts, store
from tracking.prepared import prepared
from tracking.rows import MessageRow
from tracking.services import consents, envelope, legs
from tracking.services.claim import claim
from tracking.services.consents import Asked
from tracking.services.dress import Wardrobe
from tracking.services.handover import Handover
from tracking.services.record import DISPATCH, Record
from tracking.statuses import Decision, Status

# Older messages are checked against the suppression list once more; what names a purpose always is: whoever withdraws
# consent gets nothing that was not handed over by then.
RECHECK_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An account with queue rows: what may be sent for it now."""

    account_id: int
    first_due: datetime
    gate: circuit.Gate


def waiting() -> list[Waiting]:
    """The enabled accounts that have something queued, unless sending is paused altogether."""
    with prepared(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.id, q.due_at, c.next_slot_at, c.open_until, coalesce(c.failures, 0)"
            " FROM providers_provideraccount a"
            " CROSS JOIN LATERAL (SELECT due_at FROM queue WHERE account_id = a.id AND lease_token IS NULL"
            "  ORDER BY due_at LIMIT 1) q"
            " LEFT JOIN providers_circuit c ON c.account_id = a.id"
            " WHERE a.enabled AND NOT EXISTS (SELECT 1 FROM tracking_switch WHERE sending_paused)"
        )
        return [Waiting(account, due, circuit.Gate(*gate)) for account, due, *gate in cursor.fetchall()]


# --- claim and start


def start(account_id: int, free: int) -> list[Handover]:
    """Claim up to `free` due messages of an account and put their attempts on record."""
    bound = accounts.by_id(account_id)
    if bound is None or free < 1:
        return []
    token = uuid4()
    with transaction.atomic():
        now = datetime.now(UTC)
        gate = circuit.lock(account_id)
        allowed = min(free, gate.allowed(now, bound.account.rate_per_second))
        if allowed < 1:
            return []
        claimed = claim(account_id=account_id, limit=allowed, cap=bound.account.max_in_flight, token=token)
        if not claimed:
            return []
        circuit.take_slots(account_id, gate, len(claimed), now, bound.account.rate_per_second)
        return _put_on_record(claimed, bound, token, now)


def _bodies(keys: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """Their content, as far as it is not purged. `keys` in order: their range prunes the partitions."""
    with prepared(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT message_id, body FROM content WHERE message_id = ANY(%s) AND message_id BETWEEN %s AND %s",
            [keys, keys[0], keys[-1]],
        )
        return {key: orjson.loads(body) for key, body in cursor.fetchall()}


def _put_on_record(claimed: list[UUID], bound: accounts.Bound, token: UUID, now: datetime) -> list[Handover]:
    work = Record(claimed)
    wanted = [row for key in claimed if (row := work.messages.get(key)) and row.status is Status.PENDING]
    bodies = _bodies(claimed)
    stopped = _stopped(wanted, bodies, now)
    copies = _stopped_copies(wanted, bodies)
    wardrobe = Wardrobe()
    start_before = now + timedelta(seconds=settings.LEASE_SECONDS - bound.adapter.timeout - 5)
    handovers, moved = [], []
    for row in wanted:
        if row.fallbacks and row.account_id != bound.account.pk:  # its next leg was decided on just now
            moved.append(row)
        elif row.expires_at and row.expires_at <= now:
            work.decide(row, Decision.EXPIRE, source=DISPATCH)  # past its expires_at since the last look
        elif row.id in stopped:
            work.decide(row, Decision.SUPPRESS, source=DISPATCH, text=stopped[row.id])
        elif (body := bodies.get(row.id)) is None:
            work.decide(row, Decision.REJECT, source=DISPATCH, text="its content was purged before it could be sent")
        else:
            key = f"{row.id}:{row.leg}:{row.operator_retries}"
            attempt = work.start_attempt(row, account_id=bound.account.pk, idempotency_key=key)
            left_out = copies.get(row.id, {}) if not attempt.leg else {}
            if left_out:
                body = envelope.without(body, left_out)
                work.note(row, key=f"copies:{attempt.number}", source=DISPATCH, text=_told(left_out))
            message = envelope.outbound(row, attempt, body, bound.adapter.account.channel)
            message = wardrobe.dressed(message, row, attempt, body)
            attempt.price = parts.price(
                message.channel, message.text, bound.account.price_per_part, bound.account.currency
            )
            handovers.append(
                Handover(bound.account.pk, bound.adapter, message, row.id, attempt.number, token, start_before)
            )
    moved += legs.after_failure(work, wanted, source=DISPATCH)
    staying = {handover.message_id for handover in handovers} | {row.id for row in moved}
    dropped = store.dropped([(key, token) for key in claimed if key not in staying])
    work.save([dropped, store.moved([(row, token, now) for row in moved]), *wardrobe.writes()])
    return handovers


def _stopped_copies(rows: Sequence[MessageRow], bodies: Mapping[UUID, dict[str, Any]]) -> dict[UUID, dict[str, str]]:
    """Of each message the addresses in cc and bcc that are not to be sent to, and why."""
    asked: dict[int, dict[UUID, set[Asked]]] = defaultdict(dict)
    for row in rows:
        body = bodies.get(row.id, {})
        if row.channel == Channel.EMAIL and (copied := envelope.copied_to(body)):
            purpose = body.get("purpose", "")
            asked[row.project_id][row.id] = {Asked(Channel.EMAIL, address, purpose) for address in copied}
    found: dict[UUID, dict[str, str]] = {}
    for project_id, wanted in asked.items():
        stopped = consents.stopped(project_id, set().union(*wanted.values()))
        for key, copies in wanted.items():
            why = {each.recipient: stopped[each] for each in copies if each in stopped}
            found[key] = {address: reason or "on the suppression list" for address, reason in why.items()}
    return found


def _told(left_out: Mapping[str, str]) -> str:
    """Which copies were left out, by the reason."""
    of_reason: dict[str, list[str]] = defaultdict(list)
    for address, reason in sorted(left_out.items()):
        of_reason[reason].append(address)
    return "; ".join(f"no copy went to {', '.join(found)}: {reason}" for reason, found in of_reason.items())


def _stopped(rows: Sequence[MessageRow], bodies: Mapping[UUID, dict[str, Any]], now: datetime) -> dict[UUID, str]:
    """Those whose recipient is not to be sent to, and why. Asked of what has waited for a while, goes by another leg or
    names a purpose."""
    found: dict[UUID, str] = {}
    purposes = {row.id: bodies.get(row.id, {}).get("purpose", "") for row in rows}
    again = [row for row in rows if row.leg or purposes[row.id] or now - ids.time_of(row.id) > RECHECK_AFTER]
    for project_id in {row.project_id for row in again}:
        asked = {row.id: Asked(*row.address(), purposes[row.id]) for row in again if row.project_id == project_id}
        stopped = consents.stopped(project_id, set(asked.values()))
        found |= {
            key: stopped[each] or "suppressed since it was handed in" for key, each in asked.items() if each in stopped
        }
    return found
