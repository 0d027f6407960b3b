"""What no sender thread ends: messages past their expires_at, and hand-overs whose holder died. Called by the dispatch
loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from providers.base import FailureClass, Outbound
from tracking import accounts, ids, store
from tracking.services import legs
from tracking.services.handover import ORPHANED, Handover, failed, must_ask
from tracking.services.outcomes import finish
from tracking.services.record import DISPATCH, Record
from tracking.statuses import Decision, Fact, FactKind, Status

log = logging.getLogger(__name__)


def expire(limit: int = 500) -> int:
    """What is past its expires_at and still waits, for whatever reason. How many there were."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT message_id FROM queue WHERE lease_token IS NULL AND expires_at <= now() LIMIT %s", [limit]
        )
        keys = [key for (key,) in cursor.fetchall()]
    if not keys:
        return 0
    with transaction.atomic():
        work = Record(keys)
        ended = store.take_from_queue(keys)
        for key in ended:
            if (row := work.messages.get(key)) and row.status is Status.PENDING:
                work.decide(row, Decision.EXPIRE, source=DISPATCH)
        work.save()
    return len(ended)


def orphans(limit: int = 500) -> list[Handover]:
    """Leases that ran out: their holder died between putting the attempt on record and recording its outcome.

    The provider may or may not have the message. Where it takes an idempotency key the message is due again with the
    same key; where it can be asked, what is returned is to be asked (`ask`, in a sender thread); otherwise the outcome
    is unknown, and an operator decides.
    """
    found = _abandoned(limit)
    if found:
        log.warning("%d hand-overs were orphaned", len(found))
    to_ask = [handover for handover in found if must_ask(handover.adapter)]
    _extend([handover.message_id for handover in to_ask])
    lost = [failed(o, ORPHANED, FailureClass.AMBIGUOUS) for o in found if not must_ask(o.adapter)]
    for outcome in lost:
        outcome.orphaned = True
    if lost:
        finish(lost)
    return to_ask


def _abandoned(limit: int) -> list[Handover]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT message_id, lease_token FROM queue WHERE lease_token IS NOT NULL AND lease_until < now() LIMIT %s",
            [limit],
        )
        expired: dict[UUID, UUID] = dict(cursor.fetchall())
    if not expired:
        return []
    found, gone = [], []
    with transaction.atomic():
        work = Record(expired)
        for key, token in expired.items():
            row = work.messages.get(key)
            attempt = row.attempt(row.attempts) if row else None
            bound = accounts.by_id(attempt.account_id) if attempt else None
            if row is None or attempt is None or bound is None:
                if row is not None and attempt is not None:  # its account is gone: nobody will ever know
                    fact = Fact(FactKind.OUTCOME_UNKNOWN, work.now, FailureClass.AMBIGUOUS, None, "", ORPHANED)
                    work.add_fact(row, attempt, fact, key=f"orphaned:{attempt.number}", source=DISPATCH)
                gone.append((key, token))
                continue
            echo, channel = ids.echo(key, attempt.number), bound.adapter.account.channel
            asked_for = Outbound(echo, attempt.idempotency_key, channel, row.address(attempt.leg)[1])
            found.append(Handover(attempt.account_id, bound.adapter, asked_for, key, attempt.number, token, work.now))
        next_leg = {key: row for key, _ in gone if (row := work.messages.get(key)) and legs.wanted(row)}
        dropped = [lease for lease in gone if lease[0] not in next_leg]
        moved = [(next_leg[key], token, work.now) for key, token in gone if key in next_leg]
        work.save([store.dropped(dropped), store.moved(moved)])
    return found


def _extend(message_ids: Sequence[UUID]) -> None:
    """Their holder is this process now."""
    if message_ids:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE queue SET lease_until = now() + %s * interval '1 s' WHERE message_id = ANY(%s)",
                [settings.LEASE_SECONDS, list(message_ids)],
            )
