"""Sending what is due: claim, attempt on record, hand over, finish, reap. Called by the dispatch loop only.

One transaction claims queue rows of an account (under its rate limit, in-flight cap and circuit) and puts their
attempts on record; after its commit the sender threads call the provider, holding no connection. What they learned is
recorded in batches. A lease fences a queue row and nothing else: a result is recorded however late it comes.

Lock order: messages in id order, then queue rows. The claim takes queue rows first, and therefore skips locked ones.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from django.conf import settings
from django.db import connection, transaction

from providers import mapping
from providers.base import Channel, FailureClass, Outbound, Provider, ProviderError, SendResult
from providers.mapping import Reading
from providers.text import clean
from tracking import accounts, circuit, ids, marks, parts, store
from tracking.models import Project
from tracking.policy import RetryPolicy
from tracking.prepared import prepared
from tracking.rows import AttemptRow, MessageRow
from tracking.services import consents, envelope, legs, suppress
from tracking.services.claim import claim
from tracking.services.consents import Asked
from tracking.services.dress import Wardrobe
from tracking.services.record import DISPATCH, Record, Source
from tracking.statuses import Decision, Fact, FactKind, Status

log = logging.getLogger(__name__)

# An account's own failures are not held against the message, up to this many hand-overs for each allowed one.
SPARED = 4
ORPHANED = "the worker died during the hand-over"
RECHECK_AFTER = timedelta(seconds=30)  # older messages are checked against the suppression list once more


@dataclass(frozen=True, slots=True)
class Handover:
    """One attempt on record, ready for a sender thread."""

    account_id: int
    adapter: Provider
    outbound: Outbound
    message_id: UUID
    number: int
    token: UUID
    start_before: datetime  # past this the lease might not outlast the provider's timeout


@dataclass(slots=True)
class Outcome:
    """What a sender thread learned."""

    handover: Handover
    finished_at: datetime
    result: SendResult | None = None
    error: ProviderError | None = None
    orphaned: bool = False  # nobody told: the lease ran out. The real outcome may still come
    detail: dict[str, Any] = field(default_factory=dict)  # of an error that the adapter does not know


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
    copies = _listed_copies(wanted, bodies)
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
            left_out = sorted(copies[row.project_id] & envelope.copied_to(body)) if not attempt.leg else []
            if left_out:
                body = envelope.without(body, left_out)
                text = f"no copy went to {', '.join(left_out)}: on the suppression list"
                work.note(row, key=f"copies:{attempt.number}", source=DISPATCH, text=text)
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


def _listed_copies(rows: Sequence[MessageRow], bodies: Mapping[UUID, dict[str, Any]]) -> dict[int, set[str]]:
    """Project → the addresses in cc and bcc that are not to be sent to."""
    found: dict[int, set[str]] = defaultdict(set)
    for row in rows:
        if row.channel == Channel.EMAIL:
            found[row.project_id] |= envelope.copied_to(bodies.get(row.id, {}))
    for project_id, addresses in found.items():
        if addresses:
            listed = suppress.suppressed(project_id, [(Channel.EMAIL, address) for address in addresses])
            found[project_id] = {address for _, address in listed}
    return found


def _stopped(rows: Sequence[MessageRow], bodies: Mapping[UUID, dict[str, Any]], now: datetime) -> dict[UUID, str]:
    """Those that have waited for a while, or go by another leg, and whose recipient is not to be sent to, and why."""
    found: dict[UUID, str] = {}
    waited = [row for row in rows if row.leg or now - ids.time_of(row.id) > RECHECK_AFTER]
    for project_id in {row.project_id for row in waited}:
        asked = {
            row.id: Asked(*row.address(), bodies.get(row.id, {}).get("purpose", ""))
            for row in waited
            if row.project_id == project_id
        }
        stopped = consents.stopped(project_id, set(asked.values()))
        found |= {
            key: stopped[each] or "suppressed since it was handed in" for key, each in asked.items() if each in stopped
        }
    return found


# --- hand over: in a sender thread, without a database connection


def hand_over(handover: Handover) -> Outcome:
    """Call the provider. Never raises: whatever happens is an outcome."""
    if datetime.now(UTC) > handover.start_before:
        return _failed(handover, "not handed over: the lease would not have outlasted the call", FailureClass.TIMEOUT)
    try:
        result = handover.adapter.send(handover.outbound)
    except ProviderError as error:
        if error.failure is FailureClass.AMBIGUOUS and _must_ask(handover.adapter):
            return ask(handover, error.text, error.reference)
        return Outcome(handover, datetime.now(UTC), error=error)
    except Exception as error:  # an adapter's bug: nobody knows whether the request was written
        log.exception("the adapter of %s broke", handover.adapter.account.code)
        return _failed(handover, f"{type(error).__name__}: {error}", FailureClass.AMBIGUOUS)
    return Outcome(handover, datetime.now(UTC), result=result)


def _must_ask(adapter: Provider) -> bool:
    """A second send would not be safe, but the provider knows whether it has the first."""
    return adapter.can_be_asked and not adapter.takes_idempotency_key


def ask(handover: Handover, why: str = ORPHANED, reference: str = "") -> Outcome:
    """What the provider says of a hand-over whose outcome is not known. Never raises."""
    try:
        receipts = handover.adapter.poll(handover.outbound, reference)
    except Exception as failed:
        log.warning("%s could not be asked: %r", handover.adapter.account.code, failed)
        return _failed(handover, f"{why}; could not be asked: {failed}", FailureClass.AMBIGUOUS)
    if not receipts:
        return _failed(handover, f"{why}; asked: the provider never got it", FailureClass.TIMEOUT)
    reference = next((receipt.reference for receipt in receipts if receipt.reference), reference)
    return Outcome(handover, datetime.now(UTC), result=SendResult(reference, text=f"{why}; asked: it has it"))


def _failed(handover: Handover, text: str, failure: FailureClass) -> Outcome:
    return Outcome(handover, datetime.now(UTC), error=ProviderError(text, classification=circuit.of_class(failure)))


# --- finish


def finish(outcomes: Sequence[Outcome]) -> None:
    """Record what the sender threads learned, and what follows: done, another try, or nothing more."""
    for outcome in outcomes:
        _map(outcome)
    with transaction.atomic():
        work = Record(
            {outcome.handover.message_id for outcome in outcomes},
            facts={(outcome.handover.message_id, _fact_key(outcome)) for outcome in outcomes},
        )
        known = [
            (outcome, row, attempt)
            for outcome in outcomes
            if (row := work.messages.get(outcome.handover.message_id))
            and (attempt := row.attempt(outcome.handover.number))
        ]
        for outcome, row, attempt in known:
            _learn(work, row, attempt, outcome)
        work.learn()
        policies = _policies({row.project_id for outcome, row, _ in known if outcome.error})
        again = {}
        for outcome, row, _ in known:
            if outcome.error and (due := _decide(work, row, outcome, outcome.error, policies[row.project_id])):
                again[row.id] = due
        taken = legs.after_failure(work, [row for outcome, row, _ in known if outcome.error], source=DISPATCH)
        switched = {row.id: row for _, row, _ in known if legs.wanted(row)}
        leases = [(outcome.handover.message_id, outcome.handover.token) for outcome in outcomes]
        ended = [lease for lease in leases if lease[0] not in again and lease[0] not in switched]
        moved = [(switched[key], token, work.now) for key, token in leases if key in switched]
        waiting = [(*lease, again[lease[0]]) for lease in leases if lease[0] in again]
        # where the lease had run out, the row is gone: what was told too late may be tried again all the same
        back = {**again, **{key: work.now for key, row in switched.items() if row not in taken}}
        anew = store.queued([store.queue_row(work.messages[key], due) for key, due in back.items()])
        work.save([store.dropped(ended), store.released(waiting), store.moved(moved), anew])
    # an orphan says that our worker died, and nothing of the account
    circuit.learn([(outcome.handover.account_id, outcome.error) for outcome in outcomes if not outcome.orphaned])


def _map(outcome: Outcome) -> None:
    """What an operator said of the refusal, where the adapter does not know. Not for sender threads: it may query."""
    error = outcome.error
    if error is None or error.classification.known or error.failure is FailureClass.AMBIGUOUS:
        return
    rules = accounts.rules(outcome.handover.account_id)
    rule = mapping.find(rules, code=clean(error.code, 100), text=clean(error.text, 1000))
    if rule is None:
        outcome.detail = {marks.UNMAPPED: True}
    else:
        outcome.detail = dict(marks.mapped(rule.id, Reading(FactKind.FAILED, error.failure)))
        outcome.error = mapping.reclassified(error, rule)


def _source(outcome: Outcome) -> Source:
    return Source(DISPATCH.kind, outcome.handover.account_id, None, outcome.detail) if outcome.detail else DISPATCH


def _learn(work: Record, row: MessageRow, attempt: AttemptRow, outcome: Outcome) -> None:
    attempt.finished_at = None if outcome.orphaned else outcome.finished_at
    reference = outcome.result.reference if outcome.result else (outcome.error.reference if outcome.error else "")
    if reference:
        attempt.reference = row.reference = clean(reference, 300)
    work.add_fact(row, attempt, _fact(outcome), key=_fact_key(outcome), source=_source(outcome))
    if outcome.error and outcome.error.classification.suppress:
        work.suppress(row, "hard_bounce", *row.address(attempt.leg), attempt)


def _fact_key(outcome: Outcome) -> str:
    return f"{'orphaned' if outcome.orphaned else 'result'}:{outcome.handover.number}"


def _fact(outcome: Outcome) -> Fact:
    if outcome.result:
        code, text = clean(outcome.result.code, 100), clean(outcome.result.text, 1000)
        return Fact(FactKind.ACCEPTED, outcome.finished_at, code=code, text=text)
    error = outcome.error
    assert error is not None
    code, text = clean(error.code, 100), clean(error.text, 1000)
    if error.failure is FailureClass.AMBIGUOUS:
        return Fact(FactKind.OUTCOME_UNKNOWN, outcome.finished_at, FailureClass.AMBIGUOUS, None, code, text)
    return Fact(FactKind.FAILED, outcome.finished_at, error.failure, None, code, text)


def _decide(
    work: Record, row: MessageRow, outcome: Outcome, error: ProviderError, policy: RetryPolicy
) -> datetime | None:
    """When the message is due again, or None."""
    latest = row.attempts == outcome.handover.number
    if not latest or row.status not in (Status.FAILED, Status.UNKNOWN):
        return None
    if row.retry:
        policy = policy.overlaid(row.retry)
    spared = error.classification.account_fault and row.budget_used < policy.max_attempts * SPARED
    safe_again = error.failure is FailureClass.AMBIGUOUS and outcome.handover.adapter.takes_idempotency_key
    failure = FailureClass.TEMPORARY if safe_again else error.failure
    if spared or policy.wants_retry(failure, row.budget_used):
        due = work.now + timedelta(seconds=policy.delay(row.budget_used, error.retry_after))
        work.decide(row, Decision.RETRY, source=DISPATCH, text=f"due {due.isoformat(timespec='milliseconds')}")
        return due
    if row.status is Status.FAILED and policy.retryable(failure):
        work.decide(row, Decision.GIVE_UP, source=DISPATCH, text=f"{row.budget_used} attempts failed")
    return None


def _policies(project_ids: set[int]) -> dict[int, RetryPolicy]:
    if not project_ids:
        return {}
    found = Project.objects.filter(pk__in=project_ids).values_list("pk", "retry")
    return {pk: RetryPolicy.merged(retry) for pk, retry in found}


# --- expire and reap


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


def reap(limit: int = 500) -> list[Handover]:
    """Leases that ran out: their holder died between putting the attempt on record and recording its outcome.

    The provider may or may not have the message. Where it takes an idempotency key the message is due again with the
    same key; where it can be asked, what is returned is to be asked (`ask`, in a sender thread); otherwise the outcome
    is unknown, and an operator decides.
    """
    orphans = _orphans(limit)
    if orphans:
        log.warning("%d hand-overs were orphaned", len(orphans))
    to_ask = [handover for handover in orphans if _must_ask(handover.adapter)]
    _extend([handover.message_id for handover in to_ask])
    lost = [_failed(o, ORPHANED, FailureClass.AMBIGUOUS) for o in orphans if not _must_ask(o.adapter)]
    for outcome in lost:
        outcome.orphaned = True
    if lost:
        finish(lost)
    return to_ask


def _orphans(limit: int) -> list[Handover]:
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
        work.save([store.dropped(gone)])
    return found


def _extend(message_ids: Sequence[UUID]) -> None:
    """Their holder is this process now."""
    if message_ids:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE queue SET lease_until = now() + %s * interval '1 s' WHERE message_id = ANY(%s)",
                [settings.LEASE_SECONDS, list(message_ids)],
            )
