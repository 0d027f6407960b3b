"""The shape of made-up traffic: what an application with a few products would send. Pure: it draws from the Random that
it is given. Called by the command `generate_traffic` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

# By the hour of the day, in UTC, and by the weekday from Monday on: factors around 1.
HOURS = (
    *(0.35, 0.28, 0.24, 0.24, 0.3, 0.45, 0.75, 1.15, 1.55, 1.8, 1.75, 1.6),
    *(1.35, 1.4, 1.5, 1.45, 1.35, 1.3, 1.2, 1.1, 1.0, 0.8, 0.6, 0.45),
)
WEEKDAYS = (1.12, 1.1, 1.08, 1.12, 1.15, 0.78, 0.65)

Notification = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of message that the imagined application sends."""

    category: str
    channel: str
    weight: int
    subject: str = ""
    text: str = ""
    template: str = ""
    tags: tuple[str, ...] = ()
    priority: int | None = None
    expires: float = 0.0  # seconds after which it is of no use any more
    provider: str = ""  # an account named by hand; else Postroom routes it
    campaign: bool = False  # goes out in batches


KINDS = (
    Kind(
        "otp", "sms", 22, text="{code} is your code. It is valid for five minutes.",
        tags=("login",), priority=1, expires=300,
    ),
    Kind(
        "otp", "email", 8, "Your code: {code}", "{code} is your code. It is valid for five minutes.",
        tags=("login",), priority=1, expires=300,
    ),
    Kind(
        "receipt", "email", 20, "Your order {order}", "Thank you, {name}. Order {order} is on its way.",
        template="order-confirmed", tags=("shop", "orders"),
    ),
    Kind(
        "shipping", "push", 14, "On its way", "Order {order} arrives tomorrow.", template="parcel-sent",
        tags=("shop", "orders"),
    ),
    Kind("reminder", "chat", 12, text="{name}, your appointment is tomorrow at 10:30.", tags=("calendar",)),
    Kind(
        "password", "email", 5, "Reset your password", "Follow the link to choose a new one, {name}.",
        template="password-reset", tags=("account",), priority=2, expires=3600,
    ),
    Kind(
        "alert", "push", 4, "A new device", "Somebody signed in from a new device.", tags=("account", "security"),
        priority=2,
    ),
    Kind(
        "invoice", "email", 6, "Invoice {order}", "The invoice {order} is ready.", template="invoice",
        tags=("billing",), provider="sandbox-mail-2",
    ),
    Kind(
        "newsletter", "email", 2, "What is new this week", "Five things to read, {name}.", template="weekly",
        tags=("marketing", "weekly"), priority=8, campaign=True,
    ),
    Kind(
        "promotion", "sms", 1, text="10 % off until Sunday with {code}.", tags=("marketing",), priority=8,
        campaign=True,
    ),
)  # fmt: skip

# What is not left to the carrier's chance, so that every outcome is seen soon: (scenario, its number, its share).
FORCED = (("bounce", "0002", 0.02), ("soft", "0003", 0.01), ("permanent", "0009", 0.015), ("retry", "0010", 0.03))
MALFORMED_SHARE = 0.004
RETURNING_SHARE = 0.25
SCHEDULED_SHARE = 0.06
HOPELESS_SHARE = 0.02  # the carrier is down for these; those that may expire do so before their last attempt
HOPELESS = ("down", "0011")
HOPELESS_SECONDS = 4.0

MALFORMED = {"email": "no-address-at-all", "sms": "+49", "push": "", "chat": ""}
NAMES = ("ada", "ben", "chloe", "dmitri", "elif", "farid", "greta", "hiro", "ines", "jonas", "keiko", "lars", "mina")
SURNAMES = ("amari", "berg", "costa", "dahl", "eze", "fontaine", "garcia", "haas", "ito", "jansen", "kowalski", "lund")
DOMAINS = ("example.org", "example.com", "example.net", "mail.example.org", "post.example.com")


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request to the API."""

    kind: Kind
    notifications: Sequence[Notification]
    malformed: bool = False  # a refusal is what is wanted

    @property
    def path(self) -> str:
        return "/v1/notifications/batch" if self.kind.campaign else "/v1/notifications"

    @property
    def body(self) -> Notification:
        return {"notifications": list(self.notifications)} if self.kind.campaign else dict(self.notifications[0])


def rhythm(moment: datetime) -> float:
    """The factor on the rate at a moment: nights are quiet, mornings busy, weekends slow; its mean is about 1."""
    low, part = HOURS[moment.hour], (moment.minute * 60 + moment.second) / 3600
    return WEEKDAYS[moment.weekday()] * (low + (HOURS[(moment.hour + 1) % 24] - low) * part)


@dataclass(slots=True)
class Traffic:
    """An endless supply of requests. Routes (channel, provider) that turn out not to exist can be dropped."""

    random: Random
    campaign_size: int = 20
    kinds: list[Kind] = field(default_factory=lambda: list(KINDS))
    count: int = 0

    def next(self, now: datetime) -> Parcel:
        kind = self.random.choices(self.kinds, [one.weight for one in self.kinds])[0]
        if kind.campaign:
            size = self.random.randint(2, max(2, self.campaign_size))
            return Parcel(kind, [self._notification(kind, now) for _ in range(size)])
        malformed = self.random.random() < MALFORMED_SHARE
        notification = self._notification(kind, now)
        if malformed:
            notification["recipient"] = MALFORMED[kind.channel]
        return Parcel(kind, [notification], malformed)

    def drop(self, kind: Kind) -> None:
        """Nothing is sent any more by this kind's route."""
        self.kinds = [one for one in self.kinds if (one.channel, one.provider) != (kind.channel, kind.provider)]

    def _notification(self, kind: Kind, now: datetime) -> Notification:
        self.count += 1
        person = _person(self.random)
        words = {
            "name": person[0].title(),
            "code": f"{self.random.randrange(10**6):06d}",
            "order": f"A{self.random.randrange(10**6):06d}",
        }
        hopeless = self.random.random() < HOPELESS_SHARE
        return {
            "channel": kind.channel,
            "recipient": _forced(self.random, kind.channel, *HOPELESS) if hopeless else self._recipient(kind, person),
            **_body(kind, words),
            "category": kind.category,
            "tags": list(kind.tags),
            "metadata": {"product": self.random.choice(("shop", "clinic", "bank")), "run": self.count},
            "external_id": f"{kind.category}-{words['order']}-{self.count}",
            **({"priority": kind.priority} if kind.priority is not None else {}),
            **({"provider": kind.provider} if kind.provider else {}),
            **self._times(kind, now, hopeless=hopeless),
        }

    def _recipient(self, kind: Kind, person: tuple[str, str]) -> str:
        roll = self.random.random()
        for scenario, digits, share in FORCED:
            roll -= share
            if roll < 0:
                return _forced(self.random, kind.channel, scenario, digits)
        regular = self.random.random() < RETURNING_SHARE
        return _address(kind.channel, person, number=self.random.randrange(40 if regular else 10**6))

    def _times(self, kind: Kind, now: datetime, *, hopeless: bool) -> dict[str, str]:
        if kind.expires:
            seconds = HOPELESS_SECONDS if hopeless else kind.expires
            return {"expires_at": _text(now + timedelta(seconds=seconds))}
        if self.random.random() < SCHEDULED_SHARE:
            return {"scheduled_at": _text(now + timedelta(seconds=self.random.uniform(20, 900)))}
        return {}


def _person(random: Random) -> tuple[str, str]:
    return random.choice(NAMES), random.choice(SURNAMES)


def _address(channel: str, person: tuple[str, str], number: int) -> str:
    first, last = person
    if channel == "email":
        return f"{first}.{last}{number}@{DOMAINS[number % len(DOMAINS)]}"
    if channel == "sms":
        # Valid, and clear of the endings …00xx for which the sandbox has a fixed fate.
        return f"+49151{1000 + number // 9000}{1000 + number % 9000}"
    return f"{channel}:{first}.{last}{number}"


def _forced(random: Random, channel: str, scenario: str, digits: str) -> str:
    """A recipient for which the sandbox has a fixed fate; a new one each time, since some of them get suppressed."""
    number = random.randrange(10**6)
    if channel == "email":
        return f"{scenario}+{number}@example.org"
    if channel == "sms":
        return f"+49151{random.randrange(1000, 9000)}{digits}"
    return f"{scenario}-{number:06d}"


def _body(kind: Kind, words: dict[str, str]) -> dict[str, Any]:
    text = kind.text.format(**words)
    content: dict[str, Any] = {"text": text}
    if kind.channel == "email":
        content["html"] = f"<p>{text}</p>"
    if kind.channel == "push":
        content["data"] = {"screen": kind.category}
    body: dict[str, Any] = {"content": content}
    if kind.subject:
        body["subject"] = kind.subject.format(**words)
    if kind.template:
        body |= {"template_id": kind.template, "variables": words}
    if kind.channel in ("email", "sms"):
        body["sender"] = "hello@example.com" if kind.channel == "email" else "Example"
    return body


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
