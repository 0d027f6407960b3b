"""Two weeks of made-up history for a demonstration: the facts are invented, what follows from them (statuses, events,
metrics) is recorded by the code that real ones go through. Called by the command `seed_history`, and day by day by the
console's button for an empty installation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

from django.db import transaction

from providers.base import RETRYABLE
from providers.models import ProviderAccount
from tracking import ids, partitions, parts, store, weather
from tracking.models import Project
from tracking.rows import MessageRow
from tracking.services import rollup
from tracking.services.record import Record, Source
from tracking.statuses import Decision, Fact, FactKind, Status
from tracking.traffic import Notification, Traffic, rhythm

MINUTE = timedelta(minutes=1)
DAY = 24 * 60  # minutes
CHUNK = 1_000  # messages in one transaction
ATTEMPTS = 4
WAITS = (2.0, 9.0, 40.0)  # seconds before the next attempt
CAMPAIGN_AGO, CAMPAIGN_LASTS, CAMPAIGN_SHARE = timedelta(hours=19), timedelta(minutes=40), 0.03
DEAD = tuple(f"{name}@closed.example.org" for name in ("info", "orders", "m.lange", "office", "sales.north"))
DEAD_SHARE = 0.004
_PROVIDER, _DISPATCH, _API = "provider", Source("dispatch"), Source("api")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to be, and when it came."""

    at: datetime
    notification: Notification
    campaign: bool = False

    @property
    def dead(self) -> bool:
        return self.notification["recipient"] in DEAD


@dataclass(frozen=True, slots=True)
class Past:
    """Which history: so many days, with about so many messages, that end with `until`."""

    days: int
    messages: int
    until: datetime

    def begin_of(self, day: int) -> datetime:
        """Days are counted from the oldest, which is 0."""
        return self.until.astimezone(UTC) - timedelta(days=self.days - day)


def write(*, project: Project, accounts: Sequence[ProviderAccount], days: int, messages: int, until: datetime) -> int:
    """How many were written. `until`: the moment with which the history ends."""
    past = Past(days, messages, until)
    make_room(past=past)
    written = sum(write_day(project=project, accounts=accounts, past=past, day=day) for day in range(days))
    while rollup.fold():
        pass
    return written


def make_room(*, past: Past) -> None:
    """To be called before the first day, outside of a transaction."""
    partitions.ensure(past.begin_of(0), past.until)


def write_day(*, project: Project, accounts: Sequence[ProviderAccount], past: Past, day: int) -> int:
    """One day of it, the same at every call. How many were written. The project is as old as its history: what is
    purged of it one day is known by its time."""
    Project.objects.filter(pk=project.pk, created_at__gt=past.begin_of(0)).update(created_at=past.begin_of(0))
    random = Random(f"day {day}")
    by_code = {account.code: account for account in accounts}
    first = {account.channel: account for account in reversed(accounts)}
    written = 0
    letters = _letters(random, past, day)
    while chunk := list(islice(letters, CHUNK)):
        with transaction.atomic():
            work, bodies = Record([]), dict[UUID, dict[str, Any]]()
            for letter in chunk:
                wanted = letter.notification
                account = by_code.get(wanted.get("provider", "")) or first.get(wanted["channel"])
                if account:
                    row = _live(work, random, letter, project, account, past.until)
                    bodies[row.id] = {**wanted["content"], "subject": wanted.get("subject", "")}
            work.save([store.contents(bodies)])
        written += len(bodies)
    return written


# --- what came in, and when


def _letters(random: Random, past: Past, day: int) -> Iterator[Letter]:
    """In the order of time, at a rate that goes by the hour and the weekday."""
    traffic = Traffic(random)
    traffic.kinds = [kind for kind in traffic.kinds if not kind.campaign]
    weights = [rhythm(past.begin_of(0) + MINUTE * number) for number in range(past.days * DAY)]
    mean = past.messages * (1 - CAMPAIGN_SHARE) / sum(weights)
    sale = past.until - CAMPAIGN_AGO
    each_minute = past.messages * CAMPAIGN_SHARE / (CAMPAIGN_LASTS / MINUTE)
    for number, weight in enumerate(weights[day * DAY : (day + 1) * DAY]):
        minute = past.begin_of(day) + MINUTE * number
        for at in _moments(random, minute, mean * weight):
            parcel = traffic.next(at)
            if not parcel.malformed:
                yield Letter(at, _with_dead(random, parcel.notifications[0]))
        if sale <= minute < sale + CAMPAIGN_LASTS:
            for at in _moments(random, minute, each_minute):
                yield Letter(at, _sale(random), campaign=True)


def _moments(random: Random, minute: datetime, expected: float) -> list[datetime]:
    count = int(expected) + (random.random() < expected % 1)
    return sorted(minute + MINUTE * random.random() for _ in range(count))


def _with_dead(random: Random, notification: Notification) -> Notification:
    if notification["channel"] == "email" and random.random() < DEAD_SHARE * 3:
        return {**notification, "recipient": random.choice(DEAD)}
    return notification


def _sale(random: Random) -> Notification:
    number = random.randrange(10**6)
    return {
        "channel": "email",
        "recipient": f"lead{number}@example.net",
        "subject": "Spring sale: everything must go",
        "content": {"text": "An old list, bought somewhere."},
        "category": weather.BAD_CAMPAIGN,
        "template_id": weather.BAD_CAMPAIGN,
        "tags": ["marketing"],
        "external_id": f"sale-{number}",
    }


# --- what became of it


def _live(
    work: Record, random: Random, letter: Letter, project: Project, account: ProviderAccount, until: datetime
) -> MessageRow:
    """One message from the request to its end, or to `until`."""
    row = _row(random, letter, project, account)
    skies = weather.weather(account.code, letter.at, until, campaign=letter.campaign)
    text = letter.notification["content"].get("text", "")
    work.now = letter.at
    work.add_message(row, source=_API)
    at = letter.at + timedelta(seconds=0.02 + random.expovariate(20))
    for number in range(1, ATTEMPTS + 1):
        work.now = at
        attempt = work.start_attempt(row, account_id=account.pk, idempotency_key=f"{row.id}:0:0")
        attempt.finished_at = at + timedelta(seconds=0.05 + random.expovariate(8))
        attempt.price = parts.price(row.channel, text, account.price_per_part, account.currency)
        said = weather.answer(random, skies, attempt.finished_at)
        if said.kind is FactKind.ACCEPTED:
            attempt.reference = row.reference = f"sb-{row.id.hex[:16]}-{number}"
        work.now = attempt.finished_at
        work.add_fact(row, attempt, said, key=f"history:{number}", source=_DISPATCH)
        work.learn()
        if said.kind is FactKind.ACCEPTED:
            facts = weather.receipts(random, skies, attempt.finished_at, dead=letter.dead)
            _tell(work, row, [fact for fact in facts if fact.at < until], account)
        if not _again(work, row, said):
            break
        at = attempt.finished_at + timedelta(seconds=WAITS[number - 1] * (0.5 + random.random()))
    return row


def _again(work: Record, row: MessageRow, said: Fact) -> bool:
    """Whether another attempt follows."""
    if said.failure not in RETRYABLE:
        return False
    last = row.attempts == ATTEMPTS
    work.decide(row, Decision.GIVE_UP if last else Decision.RETRY, source=_DISPATCH)
    return not last


def _tell(work: Record, row: MessageRow, facts: Sequence[Fact], account: ProviderAccount) -> None:
    source = Source(_PROVIDER, account_id=account.pk)
    for place, fact in enumerate(facts):
        work.now = fact.at + timedelta(seconds=0.2)
        key = f"history:{row.attempts}:{place}"
        work.add_fact(row, row.tries[-1], fact, key=key, source=source, said_at=fact.at)
    work.learn()


def _row(random: Random, letter: Letter, project: Project, account: ProviderAccount) -> MessageRow:
    wanted = letter.notification
    key = UUID(int=ids.floor(letter.at).int | random.getrandbits(62) | random.getrandbits(12) << 64)
    return MessageRow(
        id=key,
        project_id=project.pk,
        channel=account.channel,
        recipient=wanted["recipient"],
        status=Status.PENDING,
        decision=Decision.QUEUE,
        account_id=account.pk,
        category=wanted.get("category", ""),
        template_id=wanted.get("template_id", ""),
        priority=wanted.get("priority", 5),
        extra={"external_id": wanted.get("external_id", ""), "tags": wanted.get("tags", [])},
    )
