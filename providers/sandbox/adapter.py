"""The sandbox's adapter: a real provider to Postroom, with a simulated carrier behind it. Made by the registry."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NoReturn

import orjson
import requests

from providers.base import (
    Account,
    Channel,
    Classification,
    FailureClass,
    HookRequest,
    Outbound,
    Proof,
    Provider,
    ProviderError,
    Receipt,
    SendResult,
    Setting,
)
from providers.classify import classify
from providers.sandbox import carrier, wire
from providers.sandbox.ledger import Handover, now_text, open_ledger, read_ledger
from providers.sandbox.plan import Answer, Chance, Plan, plan_answer
from providers.sandbox.profile import PRESETS, Profile, make_profile, profile_for

BEFORE = 0.4  # the share of the call's time that passes before the carrier takes the message

AMBIGUOUS = Classification(failure=FailureClass.AMBIGUOUS)
SMS_PART = 160  # characters


@dataclass(frozen=True, slots=True)
class Refusal:
    code: str
    text: str
    classification: Classification


REFUSALS: Mapping[Answer, Refusal] = {
    Answer.THROTTLED: Refusal("429", "too many requests", classify("sandbox", http=429)),
    Answer.TEMPORARY: Refusal("503", "the carrier is not available for now", classify("sandbox", http=503)),
    Answer.INVALID: Refusal("5.1.3", "not a valid recipient", classify("sandbox", enhanced="5.1.3")),
    Answer.PERMANENT: Refusal("5.6.0", "the content was refused", classify("sandbox", enhanced="5.6.0")),
    Answer.LOST: Refusal("", "no answer after the request was written", AMBIGUOUS),
    Answer.HUNG: Refusal("", "no answer after the request was written", AMBIGUOUS),
    Answer.UNREACHABLE: Refusal("", "no connection", Classification(failure=FailureClass.TIMEOUT)),
}


class Sandbox(Provider):
    kind = "sandbox"
    title = "Sandbox (simulated carrier)"
    channels = frozenset(Channel)
    settings = (
        Setting(
            "hook_secret",
            "Hook secret",
            secret=True,
            required=True,
            rotates=True,
            help="Signs the carrier's receipts.",
        ),
        Setting(
            "profile",
            "Profile",
            default="realistic",
            help=f"One of {', '.join(PRESETS)}; or JSON such as "
            '{"preset": "calm", "lost": 0.1}: see docs/sandbox.md.',
        ),
        Setting("seed", "Seed", type=int, default=0, help="The same seed gives each message the same fate again."),
        Setting("speed", "Speed", type=float, default=1.0, help="10 makes the carrier ten times as fast."),
        Setting("batch", "Receipts a request", type=int, default=20, help="The most that one delivery carries."),
        Setting(
            "idempotent",
            "Takes idempotency keys",
            type=bool,
            default=False,
            help="A known key is not sent again.",
        ),
        Setting("askable", "Can be asked", type=bool, default=False, help="What became of a message can be queried."),
        Setting("ledger", "Ledger", help="File of the carrier's record. Empty: .state/sandbox/<account code>.jsonl."),
    )
    signature_covers = "timestamp and body"
    echoes_metadata = True

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        # By account, where other vendors declare them by class: on the instance, so that the class keeps the safe word.
        self.takes_idempotency_key = bool(account.settings.get("idempotent"))
        self.can_be_asked = bool(account.settings.get("askable"))

    def send(self, outbound: Outbound) -> SendResult:
        profile = profile_for(make_profile(self._setting("profile", "")), outbound.recipient)
        plan = plan_answer(profile, self._chance(outbound.echo))
        delay = plan.delay / self._speed
        _pause(delay * BEFORE)
        if plan.answer is Answer.UNREACHABLE:
            self._refuse(plan)
        handover = self._take(outbound, plan, profile)
        _pause(self.timeout if plan.answer is Answer.HUNG else delay * (1 - BEFORE))
        if plan.answer is not Answer.ACCEPTED:
            self._refuse(plan)
        return SendResult(reference=handover.reference, code="202", text="accepted", parts=self._parts(outbound))

    def verify(self, request: HookRequest) -> Proof:
        wire.verify(self.accepted("hook_secret"), request)
        return Proof()

    def parse(self, request: HookRequest) -> list[Receipt]:
        return wire.parse(request)

    def poll(self, outbound: Outbound, reference: str) -> list[Receipt]:
        """What has happened by now to the hand-over with this echo; that it was taken is always among it."""
        return [
            wire.receipt_of(event)
            for handover in read_ledger(self.ledger)
            if handover.echo == outbound.echo and handover.taken
            for event in self._events_by_now(handover)
        ]

    def _events_by_now(self, handover: Handover) -> Iterator[Mapping[str, str]]:
        yield wire.event(handover, number="taken", word="accepted", moment=handover.time.timestamp())
        now = time.time()
        for step, event in carrier.receipts_of(self.account, handover):
            if handover.time.timestamp() + step.at / self._speed <= now:
                yield event

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        errors = {}
        if not settings.get("hook_secret"):
            errors["hook_secret"] = "Without a secret the receipts could not be verified."
        try:
            make_profile(settings.get("profile", ""))
        except (ValueError, TypeError) as error:
            errors["profile"] = str(error)
        if not float(settings.get("speed") or 1) > 0:
            errors["speed"] = "A positive number is wanted."
        return errors

    @property
    def ledger(self) -> str:
        return str(self._setting("ledger", "") or f".state/sandbox/{self.account.code}.jsonl")

    @property
    def _speed(self) -> float:
        return float(self._setting("speed", 1.0) or 1.0)

    def _setting(self, name: str, default: Any) -> Any:
        return self.account.settings.get(name, default)

    def _chance(self, echo: str) -> Chance:
        return Chance(seed=int(self._setting("seed", 0) or 0), echo=echo)

    def _take(self, outbound: Outbound, plan: Plan, profile: Profile) -> Handover:
        """The carrier gets the message: on its record first; then its receipts are on their way, perhaps already
        before the answer."""
        answer = plan.answer
        handover = Handover(
            at=now_text(),
            echo=outbound.echo,
            idempotency_key=outbound.idempotency_key,
            recipient=outbound.recipient,
            outcome=answer.value,
            taken=answer.taken,
            reference=self._reference(outbound.echo) if answer.taken else "",
        )
        if not (profile.receipts or self._setting("ledger", "")):
            return handover
        handover = open_ledger(self.ledger).take(handover, once=answer.taken and self.takes_idempotency_key)
        if profile.receipts and answer.taken and self.account.hook_url:
            if plan.early:
                self._send_early(handover)
            carrier.start_carrier(self.account, self.ledger).woken.set()
        return handover

    def _send_early(self, handover: Handover) -> None:
        """The carrier will send these again, as it keeps no record of having got ahead of itself: a duplicate."""
        early = [orjson.dumps(event) for step, event in carrier.receipts_of(self.account, handover) if step.early]
        if early:
            with requests.Session() as session:
                carrier.post(self.account, early, session)

    def _reference(self, echo: str) -> str:
        digest = blake2b(f"{self.account.code}|{self._setting('seed', 0)}|{echo}".encode(), digest_size=10)
        return f"sbx-{digest.hexdigest()}"

    def _refuse(self, plan: Plan) -> NoReturn:
        refusal = REFUSALS[plan.answer]
        raise ProviderError(
            refusal.text,
            classification=refusal.classification,
            code=refusal.code,
            retry_after=None if plan.retry_after is None else plan.retry_after / self._speed,
        )

    def _parts(self, outbound: Outbound) -> int | None:
        if outbound.channel is not Channel.SMS:
            return None
        return max(1, -(-len(outbound.text) // SMS_PART))


def _pause(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)
