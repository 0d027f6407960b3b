"""The console's pages: server time with very many messages, beside the same page with 10,000.

Two databases, filled alike, and one process that asks now one, now the other through the real application: Django's
test client runs every middleware, view and template, and leaves out the network. What disturbs the machine disturbs
both.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from django.db import connections
from django.test import Client

from providers.base import BounceClass, FailureClass
from tests.benchmarks import database
from tests.benchmarks.weeks import Weeks
from tracking import collector
from tracking.models import Project
from tracking.services import keys
from tracking.statuses import Status

FAMILY = "console"
AIM_MS, AIM_RATIO = 150.0, 1.5
METRICS = "delivery-metrics, a year"
AIMS_MS = {METRICS: 100.0}  # of single rows
FEW = 10_000  # messages of the floor
LEAST = 1_000  # messages of ours
REQUESTS = 40  # of each page, on each side
WARM_UP = 6  # prepared statements settle on a plan after the fifth time
MESSAGES, MESSAGE = "/admin/tracking/message/", "/admin/tracking/message/{}/change/"


class Console:
    """An installation with its own database and an operator who is logged in."""

    def __init__(self, url: str, count: int, weeks: int) -> None:
        base = connections["default"]
        self._connection = type(base)({**base.settings_dict, "NAME": urlsplit(url).path[1:]}, "default")
        self.filled = Weeks(count, weeks)
        with self.chosen():
            call_command("migrate", interactive=False, verbosity=0)
            self.filled.fill()
            operator = User.objects.create(username="bench", is_staff=True, is_superuser=True)
            key = keys.create(project=Project.objects.order_by("pk")[0], name="bench", rate_limit=0)
            self._client = Client(SERVER_NAME="127.0.0.1", headers={"X-API-Key": key})
            self._client.force_login(operator)

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Django's connection, in this thread, is the one to this database."""
        before = connections["default"]
        connections["default"] = self._connection
        try:
            yield
        finally:
            connections["default"] = before

    def ask(self, url: str) -> float:
        """The milliseconds that the server takes. What pages keep for a while is forgotten: this is the slow case."""
        cache.clear()
        with self.chosen():
            started = time.perf_counter()
            response = self._client.get(url)
            took = time.perf_counter() - started
        assert response.status_code == 200, f"{url} was answered {response.status_code}"
        assert b"errorlist" not in response.content, f"{url} was not understood"
        return took * 1_000

    def close(self) -> None:
        self._connection.close()


# --- pages: each gives its addresses, one after the other, over and over

Addresses = Iterator[str]


def _fixed(url: str) -> Callable[[Weeks], Addresses]:
    return lambda filled: itertools.repeat(url)


def _listed(**values: Sequence[Any]) -> Callable[[Weeks], Addresses]:
    """The list with each value of a filter in turn; further filters take theirs in step."""
    queries = [dict(zip(values, each, strict=True)) for each in zip(*values.values(), strict=True)]
    return lambda filled: itertools.cycle([f"{MESSAGES}?{urlencode(query)}" for query in queries])


def _of_each(name: str, values: Callable[[Weeks], Iterator[Any]], **more: Any) -> Callable[[Weeks], Addresses]:
    return lambda filled: (f"{MESSAGES}?{urlencode({name: value, **more})}" for value in values(filled))


def _projects(filled: Weeks) -> Iterator[int]:
    return itertools.cycle(sorted({sender.project_id for sender in filled.senders}))


def _accounts(filled: Weeks) -> Iterator[int]:
    return itertools.cycle(sorted({sender.account_id for sender in filled.senders}))


def _recipients(filled: Weeks) -> Iterator[str]:
    return itertools.cycle(recipient for _, _, recipient in filled.sample)


def _days(filled: Weeks) -> Iterator[str]:
    days = range(1, max(2, filled.over.days), 3)
    return itertools.cycle([f"{filled.began + filled.over * day / max(2, filled.over.days):%Y-%m-%d}" for day in days])


def _reasons() -> list[str]:
    return [*BounceClass, *FailureClass, "attempts_exhausted", "suppressed", "expired"]


def _year(filled: Weeks) -> Addresses:
    """By day, as many as one call may ask for."""
    until = datetime.now(UTC).date()
    days = {"start_date": until - timedelta(days=365), "end_date": until, "group_by": "day"}
    return itertools.repeat(f"/v1/analytics/delivery-metrics?{urlencode(days)}")


PAGES: dict[str, Callable[[Weeks], Addresses]] = {
    "overview": _fixed("/admin/"),
    "overview, 30 days": _fixed("/admin/?period=30d"),
    "system": _fixed("/admin/system/"),
    "message": lambda filled: map(MESSAGE.format, filled.ended()),
    "message, failed": lambda filled: map(MESSAGE.format, filled.ended(Status.FAILED, Status.BOUNCED)),
    "list, first page": _fixed(MESSAGES),
    "list, next page": _of_each("before", Weeks.ended),
    "list, last page": _of_each("after", lambda filled: itertools.repeat("0" * 32)),
    "filter: status": _listed(status=list(Status)),
    "filter: reason": _listed(reason=_reasons()),
    "filter: failure": _listed(failure=list(FailureClass)),
    "filter: bounce": _listed(bounce=list(BounceClass)),
    "filter: time": _listed(time=["1h", "24h", "7d", "30d"]),
    "filter: since": _of_each("since", _days),
    "filter: until": _of_each("until", _days),
    "filter: channel": _listed(channel=["email", "sms", "push", "chat"]),
    "filter: project": _of_each("project", _projects),
    "filter: account": _of_each("account", _accounts),
    "filter: category": _listed(category=["order", "newsletter", "reminder", "none-such"]),
    "filter: template": _listed(template=["order-sent", "news-weekly", "none-such"]),
    "filter: tag": _listed(tag=["shop", "alert", "none-such"]),
    "filter: batch": _of_each("batch", lambda filled: itertools.cycle(filled.batches)),
    "project + unknown": _of_each("project", _projects, status="unknown"),
    "account + bounce": _of_each("account", _accounts, bounce="block"),
    "category + status": _listed(category=["order", "newsletter"], status=["cancelled", "failed,bounced"]),
    "search: recipient": _of_each("q", _recipients),
    "search: to:": _of_each("q", lambda filled: (f"to:{recipient}" for recipient in _recipients(filled))),
    "search: reference": _of_each("q", lambda filled: (f"order-{n * 97 % filled.count}" for n in itertools.count())),
    "search: id's start": _of_each("q", lambda filled: (str(key)[:8] for key in filled.ended())),
    "search: nothing there": _of_each("q", lambda filled: itertools.cycle(["nobody@example.com", "no such thing"])),
    "search: error:": _listed(q=["error:421", "error:blocked", 'error:"mailbox full"', "error:none-such"]),
    METRICS: _year,
    "search: recipient + status": _of_each("q", _recipients, status="failed,bounced"),
}


# --- measuring


@dataclass
class Timed:
    row: str
    messages: int
    few: int
    runs: list[tuple[float, float]] = field(default_factory=list)  # milliseconds with many and with few messages

    @property
    def ours(self) -> float:
        return percentile([ours for ours, _ in self.runs], 95)

    @property
    def floor(self) -> float:
        return percentile([floor for _, floor in self.runs], 95)

    @property
    def missed(self) -> bool:
        return self.ours > self.aim_ms or self.ours / self.floor > AIM_RATIO

    @property
    def aim_ms(self) -> float:
        return AIMS_MS.get(self.row, AIM_MS)

    @property
    def medians(self) -> tuple[float, float]:
        ours, floor = zip(*self.runs, strict=True)
        return statistics.median(ours), statistics.median(floor)

    def as_dict(self) -> dict[str, Any]:
        figures = {"ours": self.ours, "floor": self.floor, "ratio": self.ours / self.floor, "medians": self.medians}
        named = {"family": FAMILY, "row": self.row, "counts": "ms, p95", "size": len(self.runs)}
        sizes = {"messages": self.messages, "floor_messages": self.few}
        aims = {"aim": {"ms": self.aim_ms, "ratio": AIM_RATIO}, "missed": self.missed}
        return {**named, **sizes, **figures, **aims, "runs": self.runs}


def percentile(times: Sequence[float], place: int) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[place - 1]


def run(url: str, messages: int, weeks: int, show: Callable[[str], None]) -> list[Timed]:
    """Fill both databases, measure every page, print a table of its own: these are times, not rates."""
    messages = max(LEAST, messages)
    few = min(FEW, messages // 2)
    # static files are no part of this, and their manifest is only there once an installation was prepared for running
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.MIDDLEWARE.remove("whitenoise.middleware.WhiteNoiseMiddleware")
    with ExitStack() as stack:
        began = time.perf_counter()
        large, small = (_open(stack, url, count, weeks) for count in (messages, few))
        collector.relax()  # as config.wsgi does
        show(f"\nconsole: {messages:,} messages beside {few:,}, filled in {time.perf_counter() - began:.0f} s")
        show(_line("page (ms)", "p50", "p95", "p50", "p95", "ratio", ""))
        found = []
        for name, addresses in PAGES.items():
            found.append(measure(Timed(name, messages, few), large, small, addresses))
            show(table_line(found[-1]))
    return found


def _open(stack: ExitStack, url: str, count: int, weeks: int) -> Console:
    console = Console(stack.enter_context(database.own(url)), count, weeks)
    stack.callback(console.close)
    return console


def measure(row: Timed, large: Console, small: Console, addresses: Callable[[Weeks], Addresses]) -> Timed:
    ours, floor = addresses(large.filled), addresses(small.filled)
    tiny = row.messages < FEW  # the test of the bench itself: nobody reads its figures
    for _ in range(0 if tiny else WARM_UP):
        large.ask(next(ours))
        small.ask(next(floor))
    for _ in range(2 if tiny else REQUESTS):
        row.runs.append((large.ask(next(ours)), small.ask(next(floor))))
    return row


def table_line(found: Timed) -> str:
    (ours, floor), verdict = found.medians, "missed" if found.missed else "met"
    times = (f"{each:.1f}" for each in (ours, found.ours, floor, found.floor))
    return _line(found.row, *times, f"{found.ours / found.floor:.2f}", verdict)


def _line(*cells: str) -> str:
    widths = ("<28", ">8", ">8", ">8", ">8", ">6", "<")
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
