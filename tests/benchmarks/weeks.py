"""Fills a database with weeks of messages of all kinds and their rollups, by COPY. Called by console.

Works on Django's connection: whoever calls it has chosen the database.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
from django.db import connection

from providers.base import Channel
from providers.models import ProviderAccount
from tests.benchmarks import fill, lives
from tests.benchmarks.lives import OUTCOMES, WAITING, Life, Sender
from tracking import counters, ids, partitions, rollups
from tracking.models import Batch, Grant, Project
from tracking.services import recount
from tracking.statuses import Status

SEED = 20  # every run builds the same messages, at other times
VARIANTS = 5  # of each life, some quicker, some slower
WITH_CONTENT = 100_000  # of the newest messages
MOST_WAITING = 500
MESSAGES_EACH = 20  # that a recipient gets
TOUCHED = ("message", "attempt", "event", "content", "queue", "metric_minute", "metric_quarter", "metric_hour")
_BODY = orjson.dumps(
    {"subject": "Your order", "text": "It is on its way. " * 20, "sender": "shop@example.com"}
).decode()
_RECIPIENT = {"email": "user{}@example.com", "sms": "+49151{:08}", "push": "device-{:040x}", "chat": "room-{}"}


class Weeks:
    """What was filled in, and what of it can be asked for."""

    def __init__(self, count: int, weeks: int) -> None:
        self.count = count
        self.over = timedelta(weeks=weeks - 1)
        self.began = datetime.now(UTC) - self.over
        self.chance = random.Random(SEED)
        self.recipients = max(1, count // MESSAGES_EACH)
        self.senders: list[Sender] = []
        self.batches: list[int] = []
        self.sample: list[tuple[UUID, Life, str]] = []  # key, life, recipient

    def fill(self) -> None:
        now = datetime.now(UTC)
        partitions.ensure(now - self.over, now + timedelta(weeks=1))
        self._configure()
        self._pool = [
            (life, outcome.weight * sender.weight)
            for sender in self.senders
            for outcome in OUTCOMES
            for life in [lives.tell(sender, outcome, self.chance) for _ in range(VARIANTS)]
        ]
        with psycopg.connect(**_login(), autocommit=True) as conn:
            conn.execute("SET synchronous_commit = off")
            keys = fill.keys(self.count, self.over)
            for _, day in itertools.groupby(enumerate(keys), key=lambda each: ids.time_of(each[1]).date()):
                self._day(conn, list(day))
            self._newest(conn, keys)
            conn.execute(f"VACUUM ANALYZE {', '.join(TOUCHED)}, metric_block")
            conn.execute("CHECKPOINT")
        self._check(keys)

    def _configure(self) -> None:
        projects = [Project.objects.create(code=f"bench-{name}") for name in ("shop", "app", "ops")]
        accounts = {}
        for code in ("email-a", "email-b", "sms-a", "push-a", "chat-a"):
            accounts[code] = ProviderAccount.objects.create(
                code=f"bench-{code}", kind="sandbox", channel=Channel(code.split("-")[0]).value
            )
        shop, app, ops = (project.pk for project in projects)
        a, b, sms, push, chat = (account.pk for account in accounts.values())
        order, news = ("order", "order-sent", ("order", "shop")), ("newsletter", "news-weekly", ("marketing",), True)
        self.senders = [
            Sender(shop, a, "email", 30, *order),
            Sender(shop, b, "email", 10, *order),
            Sender(shop, b, "email", 15, *news),
            Sender(shop, sms, "sms", 10, "reminder", "", ("shop",)),
            Sender(app, push, "push", 20, "reminder", "push-hello", ()),
            Sender(app, a, "email", 10, "", "", ("app", "login")),
            Sender(ops, chat, "chat", 5, "", "", ("alert",)),
        ]
        for project_id, account_id in dict.fromkeys((each.project_id, each.account_id) for each in self.senders):
            Grant.objects.create(project_id=project_id, account_id=account_id)
        count = max(1, self.over.days // 7)
        size = self.count // count
        self.batches = [Batch.objects.create(project_id=shop, size=size).pk for _ in range(count)]

    # --- messages

    def _day(self, conn: psycopg.Connection, numbered: list[tuple[int, UUID]]) -> None:
        pool, weights = zip(*self._pool, strict=True)
        chosen = self.chance.choices(pool, cum_weights=list(itertools.accumulate(weights)), k=len(numbered))
        self._write(conn, [(number, key, life) for (number, key), life in zip(numbered, chosen, strict=True)])

    def _newest(self, conn: psycopg.Connection, keys: list[UUID]) -> None:
        """Messages that wait: a small backlog that has just come in; and what the newest messages say."""
        waiting = [lives.tell(sender, WAITING, self.chance) for sender in self.senders]
        made = fill.keys(min(MOST_WAITING, max(1, self.count // 100)), fill.JUST_NOW)
        chosen = [(self.count + n, key, waiting[n % len(waiting)]) for n, key in enumerate(made)]
        self._write(conn, chosen)
        columns = ("message_id", "project_id", "account_id", "priority", "due_at")
        due = ((key, life.sender.project_id, life.sender.account_id, 5, fill.now()) for _, key, life in chosen)
        fill.copy(conn, "queue", columns, due)
        fill.copy(conn, "content", ("message_id", "body"), ((key, _BODY) for key in [*keys[-WITH_CONTENT:], *made]))

    def _write(self, conn: psycopg.Connection, chosen: list[tuple[int, UUID, Life]]) -> None:
        messages, attempts, events, counted = [], [], [], counters.none()
        for number, key, life in chosen:
            at = ids.milliseconds(key)
            recipient = _RECIPIENT[life.sender.channel].format(int(self.recipients * self.chance.random() ** 2))
            batch = self.batches[number * len(self.batches) // self.count % len(self.batches)]
            moments = [
                datetime.fromtimestamp((at + after) / 1000, UTC).isoformat(timespec="milliseconds")
                for after in life.moments
            ]
            slots = (key, recipient, f"order-{number}", batch, *moments)
            messages.append(life.message.format(*slots))
            attempts.append(life.attempts.format(*slots))
            events.append(life.events.format(*slots))
            for after, what, count in life.counts:
                counted[(at + after) // 60_000, *what] += count
            if number % max(1, self.count // 1_000) == 0:
                self.sample.append((key, life, recipient))
        for table, columns, lines in (
            ("message", lives.MESSAGE, messages),
            ("attempt", lives.ATTEMPT, attempts),
            ("event", lives.EVENT, events),
        ):
            _copy(conn, table, columns, lines)
        rollups.add_up(counters.by_bucket(counted), rollups.TIERS, datetime.now(UTC))

    def _check(self, keys: list[UUID]) -> None:
        """The rollups say what a recount says: at some times, and now."""
        for key in (keys[0], keys[len(keys) // 2], keys[-1]):
            hour = counters.floor(ids.time_of(key), rollups.HOUR.width)
            wrong = {tier.table: counts for tier, counts in recount.errors(hour).items() if counts}
            assert not wrong, f"the rollups differ from a recount at {hour}: {wrong}"

    # --- what can be asked for

    def ended(self, *statuses: Status) -> Iterator[UUID]:
        """Keys of the sample, over and over; all of them, where no status is named."""
        found = [key for key, life, _ in self.sample if not statuses or life.status in statuses]
        return itertools.cycle(self.chance.sample(found, len(found)))


def _copy(conn: psycopg.Connection, table: str, columns: tuple[str, ...], lines: list[str]) -> None:
    with conn.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as stream:
        for start in range(0, len(lines), 1_000):
            stream.write("".join(lines[start : start + 1_000]))


def _login() -> dict[str, Any]:
    """Of the database that Django's connection works on."""
    of = connection.settings_dict
    login = {
        "dbname": of["NAME"],
        "host": of["HOST"],
        "port": of["PORT"],
        "user": of["USER"],
        "password": of["PASSWORD"],
    }
    return {name: value for name, value in login.items() if value}
