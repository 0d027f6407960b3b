"""What the simulated carrier does to a message: pure functions of the seed, the message and the attempt's number.
Called by the adapter (for its answer) and by the carrier (for its receipts), which therefore always agree."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from providers.base import Channel
from providers.sandbox.profile import ALWAYS, Profile, Range

BURST_SECONDS = 2.0  # messages made within one such window are throttled together
BURST_SHARE = 0.8

# What people can do with a message on each channel.
ENGAGEMENT: Mapping[Channel, frozenset[str]] = {
    Channel.EMAIL: frozenset({"opened", "machine_opened", "clicked", "complained", "unsubscribed"}),
    Channel.SMS: frozenset({"clicked", "unsubscribed"}),
    Channel.PUSH: frozenset({"opened", "clicked"}),
    Channel.CHAT: frozenset({"read", "complained", "unsubscribed"}),
}


class Answer(enum.StrEnum):
    """How the send call ends. The ledger's `outcome` is one of these words."""

    ACCEPTED = "accepted"
    LOST = "lost"  # taken, but the answer never arrives
    HUNG = "hung"  # not taken, and no answer either: the caller cannot tell it from `lost`
    UNREACHABLE = "unreachable"  # no connection: the carrier never saw the message, so no line in the ledger
    TEMPORARY = "temporary"
    THROTTLED = "throttled"
    PERMANENT = "permanent"
    INVALID = "invalid"

    @property
    def taken(self) -> bool:
        return self in (Answer.ACCEPTED, Answer.LOST)


@dataclass(frozen=True, slots=True)
class Step:
    """One receipt to be. `at` and `due` are seconds after the hand-over; `due` is when it is sent to the hook."""

    type: str
    at: float
    due: float
    code: str = ""
    text: str = ""
    copies: int = 1
    early: bool = False  # sent before the send call is answered


@dataclass(frozen=True, slots=True)
class Plan:
    answer: Answer
    delay: float  # seconds that the send call takes
    early: bool = False  # the first two receipts are sent before the answer
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Chance:
    """The dice of one attempt. Each question has dice of its own, so that changing one probability leaves the
    answers to all other questions as they were."""

    seed: int
    echo: str
    message: str = field(init=False)
    attempt: int = field(init=False)

    def __post_init__(self) -> None:
        message, _, number = self.echo.rpartition(".")
        object.__setattr__(self, "message", message or self.echo)
        object.__setattr__(self, "attempt", int(number) if message and number.isdigit() else 1)

    def roll(self, question: str, key: str = "") -> float:
        digest = blake2b(f"{self.seed}|{key or self.echo}|{question}".encode(), digest_size=7).digest()
        return int.from_bytes(digest, "big") / (1 << 56)

    def hits(self, probability: float, question: str, key: str = "") -> bool:
        return probability > 0 and self.roll(question, key) < probability

    def seconds(self, span: Range, question: str) -> float:
        low, high = span
        return low + (high - low) * self.roll(question) ** 3 if high else 0.0


def plan_answer(profile: Profile, chance: Chance) -> Plan:
    """How the send call ends, and when."""
    answer = _answer(profile, chance)
    return Plan(
        answer=answer,
        delay=chance.seconds(profile.answer, "answer"),
        early=answer is Answer.ACCEPTED and chance.hits(profile.early, "early"),
        retry_after=profile.retry_after if answer is Answer.THROTTLED else None,
    )


def _answer(profile: Profile, chance: Chance) -> Answer:
    trouble = chance.attempt <= profile.trouble_attempts
    asked: tuple[tuple[Answer, Callable[[], bool]], ...] = (
        (Answer.UNREACHABLE, lambda: trouble and chance.hits(profile.unreachable, "unreachable")),
        (Answer.HUNG, lambda: trouble and chance.hits(profile.hang, "hang")),
        (Answer.THROTTLED, lambda: trouble and _in_burst(profile.throttle, chance)),
        (Answer.TEMPORARY, lambda: trouble and chance.hits(profile.temporary, "temporary")),
        (Answer.INVALID, lambda: chance.hits(profile.invalid, "invalid", chance.message)),
        (Answer.PERMANENT, lambda: chance.hits(profile.permanent, "permanent", chance.message)),
        (Answer.LOST, lambda: chance.hits(profile.lost, "lost")),
    )
    return next((answer for answer, struck in asked if struck()), Answer.ACCEPTED)


def _in_burst(throttle: float, chance: Chance) -> bool:
    """Bursts hit messages that were made together: the window is read from the id, so that a run can be repeated.
    A retry meets an easier carrier each time."""
    if throttle >= ALWAYS:
        return True
    share = BURST_SHARE / 2 ** (chance.attempt - 1)
    return chance.hits(throttle, "burst", _window(chance.message)) and chance.hits(share, "throttle")


def _window(message: str) -> str:
    try:
        milliseconds = uuid.UUID(message).int >> 80
    except ValueError:
        return message
    return f"window {milliseconds // int(BURST_SECONDS * 1000)}"


def plan_steps(profile: Profile, chance: Chance, channel: Channel) -> tuple[Step, ...]:
    """The receipts of a message that was taken, in the order in which they are sent."""
    if not profile.receipts or chance.hits(profile.silent, "silent"):
        return ()
    steps = list(_story(profile, chance, channel))
    if plan_answer(profile, chance).early:
        steps[:2] = [replace(step, at=0.0, due=0.0, early=True) for step in steps[:2]]
    elif chance.hits(profile.reorder, "reorder"):
        steps[0] = replace(steps[0], due=_fate(steps).due + 0.5)
    copied = [
        replace(step, copies=2) if chance.hits(profile.duplicate, f"duplicate {number}") else step
        for number, step in enumerate(steps)
    ]
    return tuple(sorted(copied, key=lambda step: step.due))


def _fate(steps: list[Step]) -> Step:
    return next(step for step in steps[1:] if step.type != "deferred")


def _story(profile: Profile, chance: Chance, channel: Channel) -> Iterator[Step]:
    at = chance.seconds(profile.accept, "accept")
    yield _step("accepted", at)
    if chance.hits(profile.deferred, "deferred"):
        at += chance.seconds(profile.deliver, "deferral")
        yield _step("deferred", at, "4.2.1", "mailbox busy, still trying")
    at += chance.seconds(profile.deliver, "deliver")
    fate = _final(profile, chance, at)
    yield fate
    if fate.type == "delivered":
        yield from _afterwards(profile, chance, channel, at)


def _final(profile: Profile, chance: Chance, at: float) -> Step:
    if chance.hits(profile.bounce_hard, "bounce_hard"):
        return _step("bounced", at, "5.1.1", "550 5.1.1 no such user here")
    if chance.hits(profile.bounce_soft, "bounce_soft"):
        return _step("soft_bounced", at, "5.2.2", "552 5.2.2 mailbox full")
    if chance.hits(profile.blocked, "blocked"):
        return _step("blocked", at, "5.7.1", "554 5.7.1 refused by policy")
    if chance.hits(profile.expired, "expired"):
        return _step("expired", at, "5.4.7", "554 5.4.7 gave up after too many tries")
    return _step("delivered", at)


def _afterwards(profile: Profile, chance: Chance, channel: Channel, at: float) -> Iterator[Step]:
    if chance.hits(profile.bounce_late, "bounce_late"):
        yield _step("bounced", at + chance.seconds(profile.deliver, "late"), "5.1.1", "550 5.1.1 no such user here")
        return
    can = ENGAGEMENT[channel]
    if "machine_opened" in can and chance.hits(profile.machine_opened, "machine_opened"):
        yield _step("machine_opened", at + 1.0)
    engaged = False
    for kind in ("opened", "read", "complained", "unsubscribed"):
        if kind in can and chance.hits(getattr(profile, kind), kind):
            engaged = True
            yield _step(kind, at + chance.seconds(profile.engage, kind))
    # An SMS link needs no opening that a carrier could see.
    if "clicked" in can and (engaged or channel is Channel.SMS) and chance.hits(profile.clicked, "clicked"):
        yield _step("clicked", at + chance.seconds(profile.engage, "clicked"))


def _step(word: str, at: float, code: str = "", text: str = "") -> Step:
    return Step(type=word, at=at, due=at, code=code, text=text)
