"""Telling endpoints: claim what is due, sign, call, record what came of it. Called by the publish loop; `tell` also by
whoever tests an endpoint.

A claim makes a row due again at the end of its lease: whoever dies in between loses nothing, and the endpoint may be
told twice, under the same webhook-id. No transaction is held while an endpoint is called. Every time here is the
application's.
"""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from django.conf import settings
from django.db import connection, transaction

from providers import http
from providers.addresses import AddressPolicy
from providers.base import FailureClass
from providers.text import clean
from providers.vault import SealBroken
from tracking import news, signing_out, store, subscribers
from tracking.models import DeliveryState, DisabledReason, Endpoint, PayloadStyle
from tracking.services import message_webhooks, smsbat_status

log = logging.getLogger(__name__)

TIMEOUT = 15.0  # seconds, for a whole call
LEASE = timedelta(seconds=60)
# Seconds before each attempt; the last one is followed by none.
SCHEDULE = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
JITTER = 0.2  # a delay is up to this part longer
RETRIED = (408, 429)  # and every 5xx
GONE = 410
QUICK_MOST = 30  # seconds between two calls of a single message's webhook: 1, 2, 4 …
FAILING_FOR = timedelta(days=5)
# Longer than any delay, a Retry-After's too: a failure after such a silence is the first of a new series.
SILENCE = timedelta(hours=48)
ANSWER_KEPT = 1_000  # characters
USER_AGENT = "Postroom-Webhooks"
SPOILT = "there is too little left of it to be told"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An endpoint with something to be told, and from when on it may be told."""

    endpoint_id: int
    due_at: datetime
    failing: bool
    width: int  # calls at once


@dataclass(frozen=True, slots=True)
class Letter:
    """One call, ready for a sender thread."""

    endpoint_id: int
    delivery_id: UUID
    lease: UUID
    number: int  # of the attempt, from 1
    url: str
    secrets: tuple[str, ...]
    headers: Mapping[str, str]
    body: bytes
    timeout: float = TIMEOUT  # seconds
    retries: int | None = None  # of a single message's webhook: it has a schedule of its own
    project_id: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call. Without a status there was no answer, and `error` says why."""

    letter: Letter
    at: datetime
    milliseconds: int
    status: int | None = None
    error: str = ""
    answer: str = ""
    retry_after: float | None = None
    refused: bool = False  # by ourselves: the address may not be called

    @property
    def good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def worth_another(self) -> bool:
        return not self.refused and (self.status is None or self.status in RETRIED or self.status >= 500)


def policy() -> AddressPolicy:
    return AddressPolicy(allow=settings.WEBHOOK_NETWORKS)


# --- claim


def waiting() -> list[Waiting]:
    """The active endpoints that have something pending. One that fails is called once at a time, to see."""
    with connection.cursor() as cursor:
        cursor.execute(
            # one step into the index for each endpoint that has something, however many have nothing
            "WITH RECURSIVE d AS ((SELECT endpoint_id, next_try_at FROM webhook_delivery WHERE state = 'pending'"
            "  ORDER BY endpoint_id, next_try_at LIMIT 1) UNION ALL SELECT n.endpoint_id, n.next_try_at"
            "  FROM d CROSS JOIN LATERAL (SELECT endpoint_id, next_try_at FROM webhook_delivery"
            "   WHERE state = 'pending' AND endpoint_id > d.endpoint_id ORDER BY endpoint_id, next_try_at LIMIT 1) n)"
            " SELECT e.id, greatest(d.next_try_at, e.hold_until), e.failing_since IS NOT NULL,"
            " CASE WHEN e.failing_since IS NULL THEN e.max_in_flight ELSE 1 END"
            " FROM d JOIN webhook_endpoint e ON e.id = d.endpoint_id WHERE e.active AND e.deleted_at IS NULL"
        )
        return [Waiting(*row) for row in cursor.fetchall()]


def claim(endpoint_id: int, limit: int) -> list[Letter]:
    """Up to `limit` calls that are due now, within what the endpoint takes at once."""
    endpoint = Endpoint.objects.filter(pk=endpoint_id, active=True, deleted_at=None).first()
    now = datetime.now(UTC)
    if endpoint is None or limit < 1 or (endpoint.hold_until and endpoint.hold_until > now):
        return []
    try:
        secrets, headers = valid_secrets(endpoint, now), endpoint.opened["headers"]
    except SealBroken as error:
        log.error("webhook endpoint %s cannot be used: %s", endpoint_id, error)
        Endpoint.objects.filter(pk=endpoint_id).update(hold_until=now + LEASE)
        return []
    lease, width = uuid4(), 1 if endpoint.failing_since else endpoint.max_in_flight
    claimed = _claim(endpoint_id, min(limit, width), width, lease, now)
    payloads = _in_form(endpoint, [orjson.loads(payload) for *_, payload in claimed])
    limits = (endpoint.timeout or TIMEOUT, endpoint.retries, endpoint.project_id)
    letters = [
        Letter(endpoint_id, key, lease, attempts + 1, endpoint.url, secrets, headers, body_of(payload), *limits)
        for (key, attempts, _), payload in zip(claimed, payloads, strict=True)
    ]
    spoilt = [letter for letter, payload in zip(letters, payloads, strict=True) if payload is None]
    if spoilt:
        with transaction.atomic():
            _keep([Outcome(letter, now, 0, error=SPOILT, refused=True) for letter in spoilt])
    return [letter for letter in letters if letter not in spoilt]


def _in_form(endpoint: Endpoint, payloads: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """As the endpoint wants them. None for one that cannot be said so, of which an erasure has left too little: it must
    stop neither the others nor the loop."""
    try:
        if endpoint.style == PayloadStyle.SMSBAT:
            payloads = smsbat_status.webhooks(payloads)
        return [*(message_webhooks.payloads(payloads) if endpoint.digest else payloads)]
    except (AttributeError, KeyError, TypeError, ValueError):
        if len(payloads) > 1:
            return [said for payload in payloads for said in _in_form(endpoint, [payload])]
        log.exception("a delivery for webhook endpoint %s cannot be put into its form", endpoint.pk)
        return [None]


def _claim(endpoint_id: int, limit: int, width: int, lease: UUID, now: datetime) -> list[tuple[UUID, int, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH due AS (SELECT id FROM webhook_delivery WHERE endpoint_id = %(endpoint)s AND state = 'pending'"
            "  AND next_try_at <= %(now)s ORDER BY next_try_at, id LIMIT (SELECT"
            "   least(%(limit)s, greatest(0, %(width)s - count(*))) FROM webhook_delivery"
            "   WHERE endpoint_id = %(endpoint)s AND lease IS NOT NULL AND next_try_at > %(now)s)"
            "  FOR UPDATE SKIP LOCKED)"
            " UPDATE webhook_delivery SET lease = %(lease)s, next_try_at = %(until)s"
            " WHERE id = ANY(ARRAY(SELECT id FROM due)) RETURNING id, attempts, payload::text",
            {
                **{"endpoint": endpoint_id, "limit": limit, "width": width, "lease": lease},
                **{"now": now, "until": now + LEASE},
            },
        )
        return sorted(cursor.fetchall())


def valid_secrets(endpoint: Endpoint, now: datetime) -> tuple[str, ...]:
    """The secret, and the one before it while that is still good."""
    opened = endpoint.opened
    if not opened["secret"]:  # a single message's webhook may do without
        return ()
    both = endpoint.previous_until is not None and endpoint.previous_until > now
    return (opened["secret"], opened["previous"]) if both and opened["previous"] else (opened["secret"],)


def body_of(payload: dict[str, Any] | None) -> bytes:
    return orjson.dumps(payload)


# --- call


def tell(letter: Letter, *, timeout: float | None = None) -> Outcome:
    """In a sender thread, or for a test. Never raises."""
    at, started = datetime.now(UTC), time.perf_counter()
    signed = signing_out.headers(letter.secrets, identifier=str(letter.delivery_id), at=at, body=letter.body)
    headers = {**letter.headers, "Content-Type": "application/json", "User-Agent": USER_AGENT, **signed}
    if letter.retries is not None and letter.secrets:
        headers["X-Signature"] = signed["X-ChatAPI-Signature"]  # k-msg's header, over the same bytes
    seconds = timeout or letter.timeout

    def outcome(**said: Any) -> Outcome:
        return Outcome(letter, at, round((time.perf_counter() - started) * 1000), **said)

    try:
        answer = http.request("POST", letter.url, timeout=seconds, headers=headers, body=letter.body, policy=policy())
    except http.HttpError as error:
        return outcome(error=clean(error.text, 300), refused=error.failure is FailureClass.PERMANENT)
    except Exception as error:  # a fault of ours must not lose the row's place in the schedule
        log.exception("webhook endpoint %s could not be called", letter.endpoint_id)
        return outcome(error=f"could not be called: {type(error).__name__}")
    return outcome(
        status=answer.status,
        error="" if answer.ok else f"HTTP {answer.status}",
        answer=clean(answer.body[: 4 * ANSWER_KEPT].decode("utf-8", "replace"), ANSWER_KEPT),
        retry_after=http.retry_after(answer.headers.get("Retry-After"), now=at),
    )


# --- finish


def finish(outcomes: Sequence[Outcome]) -> None:
    """Record the calls, when each is tried again, and what they say of their endpoints."""
    with transaction.atomic():
        _keep(outcomes)
        _learn(outcomes)
        news.after_commit(
            [
                news.News(
                    news.TOLD if outcome.good else news.UNTOLD, outcome.letter.project_id, outcome.letter.delivery_id
                )
                for outcome in outcomes
                if outcome.letter.retries is not None and next_try(outcome) is None
            ]
        )


def _keep(outcomes: Sequence[Outcome]) -> None:
    store.write(
        [
            store.delivery_attempts([_attempt(outcome) for outcome in outcomes]),
            store.finished_deliveries([_finished(outcome) for outcome in outcomes]),
        ]
    )


def _attempt(outcome: Outcome) -> dict[str, Any]:
    return {
        "delivery_id": outcome.letter.delivery_id,
        "at": outcome.at,
        "milliseconds": outcome.milliseconds,
        "status": outcome.status,
        "error": outcome.error,
        "answer": outcome.answer,
    }


def _finished(outcome: Outcome) -> dict[str, Any]:
    due = next_try(outcome)
    ended = DeliveryState.DELIVERED if outcome.good else DeliveryState.FAILED
    return {
        "id": outcome.letter.delivery_id,
        "lease": outcome.letter.lease,
        "state": ended if due is None else DeliveryState.PENDING,
        "next_try_at": due or _ended_at(outcome),
    }


def next_try(outcome: Outcome) -> datetime | None:
    """None: this was the last attempt."""
    number, retries = outcome.letter.number, outcome.letter.retries
    if outcome.good or not outcome.worth_another or number > (len(SCHEDULE) - 1 if retries is None else retries):
        return None
    seconds = SCHEDULE[number] if retries is None else min(QUICK_MOST, 2 ** (number - 1))
    delay = seconds * random.uniform(1, 1 + JITTER)
    return _ended_at(outcome) + timedelta(seconds=max(delay, outcome.retry_after or 0))


def _ended_at(outcome: Outcome) -> datetime:
    return outcome.at + timedelta(milliseconds=outcome.milliseconds)


def _learn(outcomes: Sequence[Outcome]) -> None:
    of: defaultdict[int, list[Outcome]] = defaultdict(list)
    for outcome in sorted(outcomes, key=lambda each: each.at):
        of[outcome.letter.endpoint_id].append(outcome)
    for endpoint in Endpoint.objects.select_for_update().filter(pk__in=of).order_by("pk"):
        before = _state(endpoint)
        for outcome in of[endpoint.pk]:
            _learn_one(endpoint, outcome)
        if _state(endpoint) != before:
            Endpoint.objects.filter(pk=endpoint.pk).update(**_state(endpoint))


_STATE = ("active", "disabled_reason", "disabled_at", "failing_since", "last_attempt_at", "hold_until")


def _state(endpoint: Endpoint) -> dict[str, Any]:
    """What calls change of an endpoint; everything else is its owner's."""
    return {name: getattr(endpoint, name) for name in _STATE}


def _learn_one(endpoint: Endpoint, outcome: Outcome) -> None:
    silent = endpoint.last_attempt_at is None or outcome.at - endpoint.last_attempt_at > SILENCE
    endpoint.last_attempt_at = outcome.at
    if outcome.good:
        endpoint.failing_since = endpoint.hold_until = None
        return
    if endpoint.failing_since is None or silent:
        endpoint.failing_since = outcome.at
    if endpoint.digest:  # never switched off: what it misses is lost with its message's few retries anyway
        return
    if outcome.retry_after and outcome.worth_another:
        endpoint.hold_until = _ended_at(outcome) + timedelta(seconds=outcome.retry_after)
    if outcome.status == GONE:
        _disable(endpoint, DisabledReason.GONE, outcome.at)
    elif outcome.at - endpoint.failing_since >= FAILING_FOR:
        _disable(endpoint, DisabledReason.FAILING, outcome.at)


def _disable(endpoint: Endpoint, reason: DisabledReason, at: datetime) -> None:
    if endpoint.active:
        endpoint.active, endpoint.disabled_reason, endpoint.disabled_at = False, reason, at
        transaction.on_commit(subscribers.forget)
        log.warning("webhook endpoint %s of project %s was disabled: %s", endpoint.pk, endpoint.project_id, reason)
