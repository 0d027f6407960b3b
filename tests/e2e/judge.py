"""Compares what Postroom has on record with what the carriers themselves wrote down. The verdict of the chaos tests.

Everything is worked out anew from the ledgers: the fate of a message is a function of the sandbox's seed, the message's
id and the attempt's number.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from providers.base import RETRYABLE
from providers.sandbox import read_ledger
from providers.sandbox.carrier import receipts_of
from providers.sandbox.ledger import Handover
from tests.e2e.harness import Stack
from tests.e2e.traffic import Accepted

READ = frozenset({"opened", "clicked", "read"})
_RECEIPTS = "SELECT message_id, count(*) FROM event WHERE source = 'provider' AND number IS NULL GROUP BY 1"
BOUNCED = frozenset({"bounced", "soft_bounced", "blocked"})


@dataclass(frozen=True, slots=True)
class Attempt:
    number: int
    key: str
    failure: str | None
    accepted: bool
    failed: bool
    unknown: bool


@dataclass
class Verdict:
    faults: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def blame(self, text: str) -> None:
        self.faults.append(text)

    def lines(self) -> list[str]:
        statuses = ", ".join(f"{name} {count}" for name, count in sorted(self.statuses.items()))
        return [f"statuses: {statuses}", *(f"{name}: {count}" for name, count in self.counts.items())]


def judge(stack: Stack, accepted: Sequence[Accepted], accounts: Sequence[str]) -> Verdict:
    """`accounts`: the sandbox accounts that the messages went through."""
    verdict = Verdict()
    messages = {str(key): (status, external) for key, status, external in stack.query(
        "SELECT id, status, external_id FROM message"
    )}  # fmt: skip
    attempts = _attempts(stack)
    received = {str(key): count for key, count in stack.query(_RECEIPTS)}
    verdict.counts["messages accepted"] = len(accepted)
    _found_once(verdict, accepted, messages)
    verdict.counts["attempts on record"] = sum(map(len, attempts.values()))
    for code in accounts:
        ledger = defaultdict(list)
        for handover in read_ledger(stack.ledger(code)):
            ledger[handover.message].append(handover)
        keyed = bool(stack.made[code]["settings"]["idempotent"])
        verdict.counts["hand-overs in the ledgers"] += sum(map(len, ledger.values()))
        _on_record(verdict, ledger, attempts)
        for one in accepted:
            if one.account == code and one.id in messages:
                case = Case(one.id, messages[one.id][0], ledger[one.id], attempts[one.id], keyed)
                case.weigh(verdict, stack, code, received.get(one.id, 0))
    return verdict


def _attempts(stack: Stack) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for key, *rest in stack.query(
        "SELECT message_id, number, idempotency_key, failure, accepted_at IS NOT NULL, failed_at IS NOT NULL,"
        " unknown_at IS NOT NULL FROM attempt ORDER BY message_id, number"
    ):
        found[str(key)].append(Attempt(*rest))
    return found


def _found_once(verdict: Verdict, accepted: Sequence[Accepted], messages: dict[str, tuple[str, str]]) -> None:
    """Each 202 is a message, each request is one message however often it was repeated."""
    for one in accepted:
        if one.id not in messages:
            verdict.blame(f"{one.id} was accepted and is lost")
    verdict.statuses.update(status for status, _ in messages.values())
    doubled = [number for number, count in Counter(external for _, external in messages.values()).items() if count > 1]
    for number in doubled:
        verdict.blame(f"request {number} became several messages")
    if len(messages) != len({one.id for one in accepted}):
        verdict.blame(f"{len(messages)} messages for {len(accepted)} answers")


def _on_record(verdict: Verdict, ledger: dict[str, list[Handover]], attempts: dict[str, list[Attempt]]) -> None:
    for message, handovers in ledger.items():
        numbers = {attempt.number for attempt in attempts.get(message, ())}
        for handover in handovers:
            if int(handover.echo.rpartition(".")[2]) not in numbers:
                verdict.blame(f"the hand-over {handover.echo} has no attempt on record")
        echoes = Counter(handover.echo for handover in handovers)
        for echo, count in echoes.items():
            if count > 1:
                verdict.blame(f"{echo} was handed over {count} times under one attempt")


@dataclass(frozen=True, slots=True)
class Case:
    """One message: what Postroom says of it, what the carrier was handed, what is on record."""

    message: str
    status: str
    handovers: Sequence[Handover]
    attempts: Sequence[Attempt]
    keyed: bool  # the account takes idempotency keys

    def weigh(self, verdict: Verdict, stack: Stack, code: str, received: int) -> None:
        self._repetitions(verdict)
        self._deliveries(verdict)
        account = stack.account(code)
        steps = [step.type for handover in self.handovers for step, _ in receipts_of(account, handover)]
        if received != len(steps):
            verdict.blame(f"{self.message}: {received} of {len(steps)} receipts are on record")
        wanted = self._expected(steps)
        if self.status not in wanted:
            why = f"{self.handovers} {steps} {self.attempts}"
            verdict.blame(f"{self.message} is {self.status}, not {' or '.join(sorted(wanted))}: {why}")

    def _repetitions(self, verdict: Verdict) -> None:
        """Every attempt beyond the first needs a reason why a second hand-over did no harm."""
        for earlier, later in zip(self.attempts, self.attempts[1:], strict=False):
            if earlier.failed and earlier.failure in RETRYABLE:
                verdict.counts[f"sent again after {earlier.failure}"] += 1
            elif self.keyed and earlier.key and earlier.key == later.key:
                verdict.counts["sent again with the same idempotency key"] += 1
            else:
                verdict.blame(f"{self.message}: attempt {later.number} after {earlier}")

    def _deliveries(self, verdict: Verdict) -> None:
        taken = [handover for handover in self.handovers if handover.taken]
        real = [handover for handover in taken if not handover.duplicate_of_key]
        verdict.counts["taken by a carrier"] += len(real)
        if len(taken) > len(real):
            verdict.counts["known to the carrier by their key, not sent twice"] += len(taken) - len(real)
        if len(real) > 1:
            verdict.blame(f"{self.message} would be delivered {len(real)} times: {real}")

    def _expected(self, steps: Sequence[str]) -> set[str]:
        taken = [handover for handover in self.handovers if handover.taken]
        if READ & set(steps):
            return {"read"}
        if "delivered" in steps and not BOUNCED & set(steps):
            return {"delivered"}
        if BOUNCED & set(steps):
            return {"bounced"}
        if "expired" in steps:
            return {"failed"}
        if taken:  # nothing final was ever heard
            return {"sent"} if any(attempt.accepted for attempt in self.attempts) else {"unknown"}
        return self._never_taken()

    def _never_taken(self) -> set[str]:
        """Unknown only where an attempt really ended without an answer: by the ledger or by a worker's death."""
        return {"unknown"} if any(attempt.unknown and not attempt.failed for attempt in self.attempts) else {"failed"}
