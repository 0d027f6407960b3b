"""`manage.py generate_traffic`: made-up applications that talk to a running Postroom over its API, for demonstrations
and soak tests. Knows nothing of the database."""

from __future__ import annotations

import signal
import time
import uuid
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import requests
from django.core.management.base import BaseCommand, CommandError

from tracking.traffic import Kind, Parcel, Traffic, rhythm

TIMEOUT = 10.0  # seconds for one request
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds of back-off
LAG = 1.0  # seconds behind its time-table after which missed messages are left out
PATIENCE = 3  # refusals in a row after which a route counts as not there
REPORT = 60.0  # seconds
FIRST_MINUTES = 120.0  # seconds
TRY_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


class Stopped(Exception):
    """A signal, or the end of the duration."""


class Command(BaseCommand):
    help = "Sends made-up messages to a running Postroom over HTTP until it is stopped."
    requires_system_checks: list[str] = []  # the API is asked, not the database

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="where Postroom answers")
        key = parser.add_mutually_exclusive_group(required=True)
        key.add_argument("--key", help="an API key with the scope `send`")
        key.add_argument("--key-file", type=Path, help="a file that holds it")
        parser.add_argument("--rate", type=float, default=5.0, help="messages a second, in the mean")
        parser.add_argument("--settle", type=float, default=None, help="the rate after the first two minutes")
        parser.add_argument("--duration", type=float, default=0.0, help="seconds; 0: until SIGTERM or Ctrl-C")
        parser.add_argument("--seed", type=int, default=None, help="the same seed makes the same messages")

    def handle(self, **options: Any) -> None:
        if options["rate"] <= 0 or (options["settle"] or 1) <= 0:
            raise CommandError("--rate and --settle must be above 0")
        key = options["key"] or options["key_file"].read_text().strip()
        sender = Sender(url=options["url"].rstrip("/"), key=key, say=self._say)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, sender.stop)
        traffic = Traffic(Random(options["seed"]), campaign_size=max(2, int(4 * options["rate"])))
        rates = (options["rate"], options["settle"] or options["rate"])
        sender.run(traffic, rates=rates, duration=options["duration"] or float("inf"))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


class Sender:
    """Keeps to a time-table, and to what the API asks for when it is busy or away."""

    def __init__(self, *, url: str, key: str, say: Callable[[str], None]) -> None:
        self.url = url
        self.say = say
        self.counts: Counter[str] = Counter()
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {key}"
        self._stopping = False
        self._until = float("inf")

    def stop(self, *_: object) -> None:
        # A flag and short sleeps: an Event set by a signal handler can lock out the very thread that waits for it.
        self._stopping = True

    def run(self, traffic: Traffic, *, rates: tuple[float, float], duration: float) -> None:
        """`rates`: messages a second, at first and later."""
        started = due = reported = time.monotonic()
        self._until = started + duration
        try:
            while True:
                self._sleep(due - time.monotonic())
                parcel = traffic.next(datetime.now(UTC))
                self._deliver(traffic, parcel)
                now = time.monotonic()
                rate = rates[now - started > FIRST_MINUTES]
                due = max(due + len(parcel.notifications) / (rate * rhythm(datetime.now(UTC))), now - LAG)
                if now - reported > REPORT:
                    reported = now
                    self._report()
        except Stopped:
            self._report()

    def _deliver(self, traffic: Traffic, parcel: Parcel) -> None:
        answer = self._post(parcel)
        route = (parcel.kind.channel, parcel.kind.provider)
        if answer.ok:
            self._refusals[route] = 0
            self.counts["sent"] += len(parcel.notifications)
        elif answer.status_code in (401, 403):
            raise CommandError(f"the API key is refused ({answer.status_code}): {answer.text[:200]}")
        elif parcel.malformed:
            self.counts["refused on purpose"] += 1
        else:
            self.counts["refused"] += len(parcel.notifications)
            self._refusals[route] += 1
            if self._refusals[route] == PATIENCE:
                self._drop(traffic, parcel.kind, answer)

    def _drop(self, traffic: Traffic, kind: Kind, answer: requests.Response) -> None:
        name = f"{kind.channel} by {kind.provider or 'any account'}"
        self.say(f"{name} is left out from now on, it was refused ({answer.status_code}): {answer.text[:300]}")
        traffic.drop(kind)
        if not traffic.kinds:
            raise CommandError("no channel is left to send on")

    def _post(self, parcel: Parcel) -> requests.Response:
        """The API's answer, however long it takes to get one. The key makes it safe to ask again."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        tries = 0
        while True:
            answer = self._try(parcel, headers)
            if answer is not None and answer.status_code not in TRY_LATER:
                return answer
            wait = _retry_after(answer) or min(FIRST_WAIT * 2**tries, LONGEST_WAIT)
            tries += 1
            self.counts["tried again"] += 1
            if tries == 1:
                self.say(f"{'no answer' if answer is None else answer.status_code}: trying again")
            self._sleep(wait)

    def _try(self, parcel: Parcel, headers: dict[str, str]) -> requests.Response | None:
        try:
            return self._session.post(
                self.url + parcel.path, json=parcel.body, headers=headers, timeout=TIMEOUT, allow_redirects=False
            )
        except requests.RequestException:
            return None

    def _sleep(self, seconds: float) -> None:
        """Raises Stopped."""
        until = min(time.monotonic() + seconds, self._until)
        while not self._stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        if self._stopping or time.monotonic() >= self._until:
            raise Stopped

    def _report(self) -> None:
        self.say(", ".join(f"{count} {word}" for word, count in sorted(self.counts.items())) or "nothing sent")


def _retry_after(answer: requests.Response | None) -> float | None:
    """Seconds; None where the header is missing or gives a date."""
    value = "" if answer is None else answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
