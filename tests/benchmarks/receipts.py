"""Receipts: from HTTP to applied status, and the accepting alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
from django.conf import settings

from providers.models import ProviderAccount
from providers.sandbox import wire
from tests.benchmarks import fill, floors, load
from tests.benchmarks.row import Row
from tests.benchmarks.stage import HOOK_SECRET

RECENT = timedelta(hours=1)  # most receipts come within the hour
_OURS = ("message", "attempt", "event", "inbound", "metric_delta")


def posted(account: ProviderAccount, keys: Sequence[UUID], each: int) -> list[bytes]:
    """Signed requests of the sandbox's carrier: `each` messages were delivered."""
    return [_request(account, keys[start : start + each], start) for start in range(0, len(keys), each)]


def _request(account: ProviderAccount, keys: Sequence[UUID], first: int) -> bytes:
    now = datetime.now(UTC)
    events = [
        {
            "id": f"event-{key.hex}",
            "type": "delivered",
            "at": now.isoformat(),
            "echo": f"{key}.1",
            "reference": f"ref-{key.hex}",
            "recipient": fill.recipient(number),
        }
        for number, key in enumerate(keys, first)
    ]
    body = orjson.dumps({"events": events})
    return load.request(f"/hooks/{account.hook_token}", body, wire.sign(HOOK_SECRET, body, int(now.timestamp())))


class Receipts(Row):
    """Floor: batches of 1,000 by our own message id, hand-written SQL, one connection."""

    family, counts = "receipts", "receipts"
    each: int

    def prepare(self) -> None:
        self.account = self.stage.sandbox()
        self.port = self.stage.web()
        self.resources.enter_context(self.stage.loops("receive", settings.RECEIVE_LOOPS))

    def _messages(self) -> list[UUID]:
        self.stage.empty(*_OURS)
        keys = fill.keys(self.size, RECENT)
        fill.sent(self.stage.conn, self.account, self.stage.project.pk, keys)
        self.stage.analyze("message", "attempt")
        return keys

    def ours(self) -> float:
        requests = posted(self.account, self._messages(), self.each)
        started = time.perf_counter()
        load.run(self.port, requests)
        self.stage.until(self._applied, 120)
        took = time.perf_counter() - started
        (delivered,) = self.stage.conn.execute("SELECT count(*) FROM message WHERE status = 'delivered'").fetchone()  # type: ignore[misc]
        assert delivered == self.size, f"{delivered} of {self.size} messages are delivered"
        return self.size / took

    def _applied(self) -> bool:
        return self.stage.conn.execute("SELECT 1 FROM inbound WHERE state = 'new' LIMIT 1").fetchone() is None

    def floor(self) -> float:
        conn = self.stage.conn
        self.stage.empty("floor.message", "floor.event")
        keys = fill.keys(self.size, RECENT)
        fill.copy(conn, "floor.message", ("id", "status"), ((key, 2) for key in keys))
        self.stage.analyze("floor.message")
        started = time.perf_counter()
        floors.apply(conn, keys)
        return self.size / (time.perf_counter() - started)


class OneEach(Receipts):
    name, each, full = "receipts, 1 a request", 1, 4_000


class HundredEach(Receipts):
    name, each, full, least, aim = "receipts, 100 a request", 100, 30_000, 1_000, 0.5


class Accept(Row):
    """One receipt a request, until it is stored; nobody reads them meanwhile. Floor: the bare view, the same bodies."""

    family, name, counts, full, aim = "receipt_accept", "receipt, accept only", "requests", 4_000, 0.7

    def prepare(self) -> None:
        self.account = self.stage.sandbox()
        self.port = self.stage.web()
        self.stage.empty("inbound", "floor.bare")

    def ours(self) -> float:
        return self.size / load.run(self.port, posted(self.account, fill.keys(self.size, RECENT), 1))

    def floor(self) -> float:
        real = posted(self.account, fill.keys(self.size, RECENT), 1)
        bare = [raw.replace(f"/hooks/{self.account.hook_token}".encode(), b"/bare", 1) for raw in real]
        return self.size / load.run(self.port, bare)
