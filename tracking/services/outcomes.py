"""What sender threads learned goes on record, and what follows from it: done, another try, or nothing more. Called by
tracking.dispatcher and by `reap`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from providers import mapping
from providers.base import FailureClass, ProviderError
from providers.mapping import Reading
from providers.text import clean
from tracking import accounts, circuit, marks, store
from tracking.models import Project
from tracking.policy import RetryPolicy
from tracking.rows import AttemptRow, MessageRow
from tracking.services import legs
from tracking.services.handover import Outcome
from tracking.services.record import DISPATCH, Record, Source
from tracking.statuses import Decision, Fact, FactKind, Status

# An account's own failures are not held against the message, up to this many hand-overs for each allowed one.
SPARED = 4


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
        legs.tell_double_deliveries(work, [row for _, row, _ in known], source=DISPATCH)
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
