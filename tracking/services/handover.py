"""A hand-over to a provider and its outcome: in a sender thread, without a database connection. Called by
tracking.dispatcher; `outcomes` and `reap` know the types."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from providers.base import FailureClass, Outbound, Provider, ProviderError, SendResult
from tracking import circuit

log = logging.getLogger(__name__)

ORPHANED = "the worker died during the hand-over"


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


def hand_over(handover: Handover) -> Outcome:
    """Call the provider. Never raises: whatever happens is an outcome."""
    if datetime.now(UTC) > handover.start_before:
        return failed(handover, "not handed over: the lease would not have outlasted the call", FailureClass.TIMEOUT)
    try:
        result = handover.adapter.send(handover.outbound)
    except ProviderError as error:
        if error.failure is FailureClass.AMBIGUOUS and must_ask(handover.adapter):
            return ask(handover, error.text, error.reference)
        return Outcome(handover, datetime.now(UTC), error=error)
    except Exception as error:  # an adapter's bug: nobody knows whether the request was written
        log.exception("the adapter of %s broke", handover.adapter.account.code)
        return failed(handover, f"{type(error).__name__}: {error}", FailureClass.AMBIGUOUS)
    return Outcome(handover, datetime.now(UTC), result=result)


def must_ask(adapter: Provider) -> bool:
    """A second send would not be safe, but the provider knows whether it has the first."""
    return adapter.can_be_asked and not adapter.takes_idempotency_key


def ask(handover: Handover, why: str = ORPHANED, reference: str = "") -> Outcome:
    """What the provider says of a hand-over whose outcome is not known. Never raises."""
    try:
        receipts = handover.adapter.poll(handover.outbound, reference)
    except Exception as error:
        log.warning("%s could not be asked: %r", handover.adapter.account.code, error)
        return failed(handover, f"{why}; could not be asked: {error}", FailureClass.AMBIGUOUS)
    if not receipts:
        return failed(handover, f"{why}; asked: the provider never got it", FailureClass.TIMEOUT)
    reference = next((receipt.reference for receipt in receipts if receipt.reference), reference)
    return Outcome(handover, datetime.now(UTC), result=SendResult(reference, text=f"{why}; asked: it has it"))


def failed(handover: Handover, text: str, failure: FailureClass) -> Outcome:
    return Outcome(handover, datetime.now(UTC), error=ProviderError(text, classification=circuit.of_class(failure)))
