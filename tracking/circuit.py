"""What holds an account's hand-overs back: its rate limit, a Retry-After, an open circuit. Called by dispatch, admin.

The circuit opens when failures follow one another without a success, soonest those of the account itself, for
30 s doubling to 15 minutes; then one hand-over at a time probes it until one succeeds. An open circuit costs no message
an attempt, and no other account anything.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from providers.base import Classification, FailureClass, ProviderError
from providers.models import Circuit
from tracking.prepared import prepared

log = logging.getLogger(__name__)

# How many failures in a row open the circuit, by class. A fault of the account (a wrong password, but also a sender
# that it may not use, which is one project's mistake) needs a few as well.
FAULTS = 3
THRESHOLDS = {FailureClass.TIMEOUT: 5, FailureClass.AMBIGUOUS: 5, FailureClass.TEMPORARY: 20}
OPEN_FOR = 30.0  # seconds, later as long as it has been open by then: failures at the same moment count as one …
OPEN_MAX = 900.0  # … up to this
BURST = 0.05  # seconds' worth of hand-overs that may go at once under a rate limit
HOLD_MAX = 60.0  # seconds for which a 429 holds the whole account back
NO_SLOTS = 0
_clean: set[int] = set()  # accounts whose circuit had nothing to forget when this process last saw it
UNLIMITED = 1_000_000


@dataclass(frozen=True, slots=True)
class Gate:
    next_slot_at: datetime | None = None
    open_until: datetime | None = None
    failures: int = 0

    def opens_at(self) -> datetime | None:
        """Before this moment nothing goes."""
        return max((moment for moment in (self.next_slot_at, self.open_until) if moment), default=None)

    def allowed(self, now: datetime, rate: float | None) -> int:
        """How many hand-overs may start now."""
        opens = self.opens_at()
        if opens and opens > now:
            return NO_SLOTS
        if self.open_until is not None:  # it was open: probe with one
            return 1
        if rate is None:
            return UNLIMITED
        return int((now - self._earliest(now)).total_seconds() * rate) + 1

    def after(self, taken: int, now: datetime, rate: float) -> datetime:
        """When the slot after `taken` more comes."""
        return self._earliest(now) + timedelta(seconds=taken / rate)

    def _earliest(self, now: datetime) -> datetime:
        burst = now - timedelta(seconds=BURST)
        return max(self.next_slot_at, burst) if self.next_slot_at else burst


def lock(account_id: int) -> Gate:
    """The account's gate, locked until the end of the transaction: claims of one account go one after another."""
    with prepared(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT next_slot_at, open_until, failures FROM providers_circuit WHERE account_id = %s FOR UPDATE",
            [account_id],
        )
        row = cursor.fetchone()
        if row is None:
            cursor.execute(
                "INSERT INTO providers_circuit (account_id, failures, reason) VALUES (%s, 0, '')"
                " ON CONFLICT DO NOTHING",
                [account_id],
            )
            return lock(account_id)
        gate = Gate(*row)
        (_clean.discard if gate.failures or gate.open_until else _clean.add)(account_id)
        return gate


def take_slots(account_id: int, gate: Gate, taken: int, now: datetime, rate: float | None) -> None:
    changes = {}
    if rate is not None:
        changes["next_slot_at"] = gate.after(taken, now, rate)
    if gate.open_until is not None:  # the next probe waits for this one's outcome
        changes["open_until"] = now + timedelta(seconds=OPEN_FOR)
    if changes:
        Circuit.objects.filter(pk=account_id).update(**changes)


def learn(results: Sequence[tuple[int, ProviderError | None]]) -> None:
    """What a batch of hand-overs says about their accounts, in the order in which they ended."""
    by_account: dict[int, list[ProviderError | None]] = {}
    for account_id, error in results:
        by_account.setdefault(account_id, []).append(error)
    for account_id, errors in sorted(by_account.items()):
        _learn(account_id, errors)


def _learn(account_id: int, errors: Sequence[ProviderError | None]) -> None:
    if all(error is None for error in errors):
        if account_id in _clean:
            return
        Circuit.objects.filter(pk=account_id).exclude(failures=0, open_until=None).update(
            failures=0, open_until=None, opened_at=None, reason=""
        )
        return
    with transaction.atomic():
        lock(account_id)
        _clean.discard(account_id)
        circuit = Circuit.objects.get(pk=account_id)
        for error in errors:
            _apply(circuit, error, datetime.now(UTC))
        circuit.save()


def _apply(circuit: Circuit, error: ProviderError | None, now: datetime) -> None:
    if error is not None and error.failure is FailureClass.RATE_LIMIT:
        _hold(circuit, error, now)
        return
    threshold = _threshold(error)
    if threshold is None:  # a success, or a refusal that shows that the account works
        circuit.failures, circuit.open_until, circuit.opened_at, circuit.reason = 0, None, None, ""
        return
    circuit.failures += 1
    if error is not None and circuit.failures >= threshold:
        _open(circuit, error, now)


def _threshold(error: ProviderError | None) -> int | None:
    if error is None:
        return None
    return FAULTS if error.classification.account_fault else THRESHOLDS.get(error.failure)


def _open(circuit: Circuit, error: ProviderError, now: datetime) -> None:
    circuit.opened_at = circuit.opened_at or now
    seconds = min(OPEN_MAX, max(OPEN_FOR, (now - circuit.opened_at).total_seconds()))
    circuit.open_until = now + timedelta(seconds=seconds)
    circuit.reason = error.text[:500]
    # the vendor's words, which may name a recipient, stand in the reason and in no log
    log.warning("the circuit of account %s is open for %.0f s: %s", circuit.account.code, seconds, error.failure)


def _hold(circuit: Circuit, error: ProviderError, now: datetime) -> None:
    until = now + timedelta(seconds=min(HOLD_MAX, 1.0 if error.retry_after is None else error.retry_after))
    circuit.next_slot_at = max(circuit.next_slot_at or until, until)


def reset(account_id: int) -> None:
    """An operator's wish: the account is tried again at once."""
    Circuit.objects.filter(pk=account_id).update(
        failures=0, open_until=None, opened_at=None, reason="", next_slot_at=None
    )


def of_class(failure: FailureClass) -> Classification:
    """The classification of a failure of our own making."""
    return Classification(failure=failure)
