"""Messages as k-msg's DeliveryTracker shows them. Called by tracker and message_webhooks. Reads only; as many
statements for one message as for a hundred.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from providers.base import BounceClass, FailureClass
from providers.models import ProviderAccount
from tracking import ids, store
from tracking.kmsg import (
    TOLD_AT,
    WORDS,
    DeliveryAttempt,
    DeliveryError,
    DeliveryReport,
    DeliveryWebhook,
    MessageStatus,
    StatusHistoryEntry,
    TrackingRecord,
)
from tracking.models import Content, Endpoint, Message, TrackedMessage
from tracking.rows import AttemptRow, MessageRow
from tracking.statuses import Attempt, Decision, Fact, FactKind, attempt_status, fold, learn

UNTRACKED = timedelta(days=1)  # how long a message counts as tracked of which nobody said so
_SOURCES = {"provider": "provider", "admin": "manual"}
# Of opens and clicks the first; of bounces and failures the first of each class: no more decides anything.
_EVENTS = """
SELECT DISTINCT ON (message_id, attempt, kind, number, failure, bounce, machine)
    message_id, kind, coalesce(attempt, 0), number, occurred_at, recorded_at, source, failure, bounce, machine, code,
    text, detail
FROM event WHERE message_id = ANY(%s) AND message_id BETWEEN %s AND %s AND kind <> 'other'
ORDER BY message_id, attempt, kind, number, failure, bounce, machine, occurred_at
"""


class _Event(NamedTuple):
    kind: str
    attempt: int
    number: int | None
    at: datetime
    recorded_at: datetime
    source: str
    failure: str | None
    bounce: str | None
    machine: bool
    code: str
    text: str
    detail: dict[str, Any]


def read(message_ids: Collection[UUID], *, stopped: bool = False) -> dict[UUID, TrackingRecord]:
    """`stopped`: also those that are not tracked any more."""
    rows = store.read_messages(message_ids) if message_ids else {}
    if not rows:
        return {}
    keys = sorted(rows)
    tracked = {each.message_id: each for each in TrackedMessage.objects.filter(pk__in=keys)}
    if not stopped:
        rows = {key: row for key, row in rows.items() if not (key in tracked and tracked[key].stopped_at)}
    near = Message.objects.filter(pk__in=keys, pk__gte=keys[0], pk__lte=keys[-1])
    external = dict(near.values_list("pk", "external_id"))
    contents = Content.objects.filter(pk__in=keys, pk__gte=keys[0], pk__lte=keys[-1])
    metadata = dict(contents.values_list("pk", "body__metadata"))
    events, providers = _events(keys), dict(ProviderAccount.objects.values_list("pk", "code"))
    webhooks = _webhooks(tracked.values())
    return {
        key: _record(
            row,
            external_id=external.get(key) or str(key),
            metadata=metadata.get(key) or {},
            events=events[key],
            providers=providers,
            tracked=tracked.get(key),
            webhooks=webhooks,
        )
        for key, row in rows.items()
    }


def _events(keys: Sequence[UUID]) -> Mapping[UUID, list[_Event]]:
    found: defaultdict[UUID, list[_Event]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_EVENTS, [list(keys), keys[0], keys[-1]])
        for key, *values, detail in cursor.fetchall():
            found[key].append(_Event._make([*values, orjson.loads(detail) if detail else {}]))
    return found


def _webhooks(tracked: Collection[TrackedMessage]) -> Mapping[int, DeliveryWebhook]:
    wanted = {key for each in tracked for key in each.endpoints}
    found = Endpoint.objects.filter(pk__in=wanted) if wanted else []
    return {each.pk: webhook(each) for each in found}


def webhook(endpoint: Endpoint) -> DeliveryWebhook:
    """As it is shown: neither its secret nor the values of its headers."""
    return DeliveryWebhook(
        endpoint.url,
        [str(kind) for kind, events in TOLD_AT.items() if set(events) <= set(endpoint.events)],
        headers=dict.fromkeys(endpoint.known["headers"], ""),
        timeout=round(1000 * (endpoint.timeout or 0)),
        retries=endpoint.retries,
    )


def _record(
    row: MessageRow,
    *,
    external_id: str,
    metadata: Mapping[str, Any],
    events: Sequence[_Event],
    providers: Mapping[int, str],
    tracked: TrackedMessage | None,
    webhooks: Mapping[int, DeliveryWebhook],
) -> TrackingRecord:
    provider = providers.get(row.account_id or 0, "")
    told = [event.detail["metadata"] for event in _in_time(events) if event.detail.get("metadata")]
    known = {name: value for each in (metadata, *told) for name, value in each.items()}
    created = ids.time_of(row.id)
    report = _report(row, external_id, known, events, providers)
    return TrackingRecord(
        message_id=external_id,
        phone_number=row.recipient,
        template_id=row.template_id,
        provider=provider,
        current_status=report.status,
        status_history=_history(row, events, provider),
        delivery_report=report,
        webhooks=[webhooks[key] for key in tracked.endpoints if key in webhooks] if tracked else [],
        created_at=created,
        updated_at=max([created, *(event.recorded_at for event in events)]),
        expires_at=tracked.expires_at if tracked else created + UNTRACKED,
        metadata=known,
    )


# --- the report


def _report(
    row: MessageRow,
    external_id: str,
    metadata: Mapping[str, Any],
    events: Sequence[_Event],
    providers: Mapping[int, str],
) -> DeliveryReport:
    attempts = [_attempt(attempt, events, providers) for attempt in row.tries]
    status = WORDS[row.status]
    return DeliveryReport(
        message_id=external_id,
        phone_number=row.recipient,
        status=status,
        attempts=attempts,
        metadata=metadata,
        sent_at=row.sent_at,
        delivered_at=row.delivered_at,
        clicked_at=row.read_at,
        failed_at=row.failed_at,
        error=_error_of(row, attempts) if status is MessageStatus.FAILED else None,
    )


def _error_of(row: MessageRow, attempts: Sequence[DeliveryAttempt]) -> DeliveryError:
    """Why it failed: what its last attempt says, or that nothing was handed over."""
    last = attempts[-1].error if attempts else None
    return last or DeliveryError(row.reason, f"the message {row.status}: {row.reason}")


def _attempt(attempt: AttemptRow, events: Sequence[_Event], providers: Mapping[int, str]) -> DeliveryAttempt:
    return DeliveryAttempt(
        attempt.number,
        attempt.started_at,
        WORDS[attempt_status(attempt.facts)],
        providers.get(attempt.account_id, ""),
        _error(attempt, events) if attempt.facts.cause_at else None,
    )


def _error(attempt: AttemptRow, events: Sequence[_Event]) -> DeliveryError:
    facts = attempt.facts
    details = next((e.detail["error"] for e in events if e.attempt == attempt.number and "error" in e.detail), None)
    return DeliveryError(facts.code or str(facts.failure or facts.bounce or ""), facts.text, details)


# --- the history


def _history(row: MessageRow, events: Sequence[_Event], provider: str) -> list[StatusHistoryEntry]:
    """Each status that it has had, by the times at which things happened: as if they had been told at once."""
    found: list[StatusHistoryEntry] = []
    for at, together in groupby(_steps(row, events), key=lambda step: step[0]):
        *_, (_, status, event) = together
        if status and (not found or found[-1].status is not status):
            found.append(_entry(status, at, event, provider))
    if not found or found[-1].status is not WORDS[row.status]:
        found.append(_entry(WORDS[row.status], max(e.recorded_at for e in events), None, provider))
    return found


def _steps(row: MessageRow, events: Sequence[_Event]) -> Iterator[tuple[datetime, MessageStatus | None, _Event | None]]:
    """(when, the status from then on, what was learned) in the order of time."""
    tries: dict[int, Attempt] = {}
    decision, after = Decision.FOLLOW, 0
    moments: list[tuple[datetime, int, _Event | None, int]] = [
        *((attempt.started_at, 0, None, attempt.number) for attempt in row.tries),
        *((event.at, 1 if event.number is None else 2, event, event.attempt) for event in _in_time(events)),
    ]
    for at, _, event, number in sorted(moments, key=lambda moment: moment[:2]):
        if event is None:
            tries.setdefault(number, Attempt(number))
        elif event.number is not None:
            decision, after = Decision(event.kind), event.attempt
        else:
            tries[number] = learn(tries.get(number, Attempt(number)), _fact(event))
        folded = fold([tries[each] for each in sorted(tries)], decision, after)
        yield at, WORDS[folded.status], event


def _fact(event: _Event) -> Fact:
    return Fact(
        FactKind(event.kind),
        event.at,
        FailureClass(event.failure) if event.failure else None,
        BounceClass(event.bounce) if event.bounce else None,
        event.code,
        event.text,
        event.machine,
    )


def _entry(status: MessageStatus, at: datetime, event: _Event | None, provider: str) -> StatusHistoryEntry:
    detail = event.detail if event else {}
    source = detail.get("source") or _SOURCES.get(event.source if event else "", "system")
    return StatusHistoryEntry(status, at, detail.get("provider") or provider, source, detail.get("metadata"))


def _in_time(events: Sequence[_Event]) -> list[_Event]:
    return sorted(events, key=lambda event: (event.at, event.recorded_at))
