"""What befalls made-up messages of the past: how each account usually does, an incident of a provider, a bad campaign.
Pure: it draws from the Random that it is given. Called by services.history alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from providers.base import BounceClass, FailureClass
from tracking.statuses import Fact, FactKind

BAD_CAMPAIGN = "spring-sale"


@dataclass(frozen=True, slots=True)
class Weather:
    """Probabilities, unless the comment says otherwise."""

    hard: float = 0.008
    soft: float = 0.006
    block: float = 0.003
    permanent: float = 0.005
    invalid: float = 0.006
    temporary: float = 0.015  # of an attempt
    silent: float = 0.008
    read: float = 0.3
    machine: float = 0.0
    complained: float = 0.001
    seconds: float = 3.0  # to the delivery, in the median
    spread: float = 0.9  # of its logarithm


USUAL: Mapping[str, Weather] = {
    "sandbox-mail": Weather(machine=0.15, seconds=5.0),
    "sandbox-mail-2": Weather(hard=0.02, soft=0.02, temporary=0.08, silent=0.04, seconds=25.0, spread=1.3),
    "sandbox-sms": Weather(hard=0.0, soft=0.0, block=0.0, invalid=0.012, read=0.0, seconds=3.5, spread=0.7),
    "sandbox-push": Weather(hard=0.006, soft=0.0, block=0.0, read=0.2, seconds=0.7),
    "sandbox-chat": Weather(hard=0.002, soft=0.0, block=0.0, read=0.6, seconds=1.5),
}
CAMPAIGN = replace(USUAL["sandbox-mail"], hard=0.3, block=0.05, complained=0.02, read=0.1)


@dataclass(frozen=True, slots=True)
class Incident:
    """An account does badly from so long ago on, for a while."""

    account: str
    ago: timedelta
    lasts: timedelta
    weather: Weather

    def covers(self, account: str, at: datetime, now: datetime) -> bool:
        return account == self.account and timedelta(0) <= at - (now - self.ago) < self.lasts


INCIDENTS = (
    Incident(
        "sandbox-sms",
        timedelta(hours=7),
        timedelta(hours=2, minutes=30),
        replace(USUAL["sandbox-sms"], temporary=0.62, seconds=150.0, silent=0.05),
    ),
    Incident(
        "sandbox-mail",
        timedelta(days=5, hours=2),
        timedelta(hours=4),
        replace(USUAL["sandbox-mail"], temporary=0.5, block=0.06, seconds=400.0),
    ),
    Incident(
        "sandbox-push", timedelta(days=9), timedelta(hours=6), replace(USUAL["sandbox-push"], silent=0.8, read=0.05)
    ),
)


def weather(account: str, at: datetime, now: datetime, *, campaign: bool) -> Weather:
    if campaign:
        return CAMPAIGN
    struck = (each.weather for each in INCIDENTS if each.covers(account, at, now))
    return next(struck, USUAL.get(account, Weather()))


def answer(random: Random, weather: Weather, at: datetime) -> Fact:
    """What the provider said when the message was handed over."""
    if random.random() < weather.temporary:
        why = (FailureClass.TEMPORARY, "451", "4.3.2 try again later")
        return Fact(FactKind.FAILED, at, why[0], code=why[1], text=why[2])
    if random.random() < weather.invalid:
        return Fact(FactKind.FAILED, at, FailureClass.INVALID_RECIPIENT, code="553", text="no such recipient")
    if random.random() < weather.permanent:
        return Fact(FactKind.FAILED, at, FailureClass.PERMANENT, code="554", text="content refused")
    return Fact(FactKind.ACCEPTED, at)


def receipts(random: Random, weather: Weather, at: datetime, *, dead: bool) -> Iterator[Fact]:
    """What came after a message was taken. `dead`: its mailbox is full, as it always was."""
    if random.random() < weather.silent:
        return
    at += timedelta(seconds=min(weather.seconds * math.exp(random.gauss(0, weather.spread)), 20_000))
    bounces = (
        (1.0 if dead else weather.soft, BounceClass.SOFT, "5.2.2", "552 5.2.2 mailbox full"),
        (weather.hard, BounceClass.HARD, "5.1.1", "550 5.1.1 no such user here"),
        (weather.block, BounceClass.BLOCK, "5.7.1", "554 5.7.1 refused by policy"),
    )
    for chance, bounce, code, text in bounces:
        if random.random() < chance:
            yield Fact(FactKind.BOUNCED, at, bounce=bounce, code=code, text=text)
            return
    yield Fact(FactKind.DELIVERED, at)
    if random.random() < weather.machine:
        yield Fact(FactKind.OPENED, at + timedelta(seconds=1), machine=True)
    if random.random() < weather.read:
        yield Fact(FactKind.OPENED, at + timedelta(seconds=random.expovariate(1 / 900)))
    if random.random() < weather.complained:
        yield Fact(FactKind.COMPLAINED, at + timedelta(seconds=random.expovariate(1 / 3600)))
