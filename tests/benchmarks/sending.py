"""Sending what is due: through a provider that answers at once, and through SMTP."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from providers.models import ProviderAccount
from tests.benchmarks import fill, floors
from tests.benchmarks.row import Row

_OURS = ("message", "content", "attempt", "event", "queue", "metric_delta")


class Sending(Row):
    counts = "messages"
    loops: int
    in_flight = 32  # hand-overs of the account at once, over all loops
    group = in_flight  # messages of one claim
    account: ProviderAccount

    def ours(self) -> float:
        """From the moment when sending is allowed until the queue is empty."""
        stage = self.stage
        stage.hold()
        stage.empty(*_OURS)
        fill.due(stage.conn, self.account, stage.project.pk, self.size)
        stage.analyze("message", "content", "queue")
        started = time.perf_counter()
        stage.let_go()
        stage.until(lambda: stage.conn.execute("SELECT 1 FROM queue LIMIT 1").fetchone() is None, 300)
        took = time.perf_counter() - started
        (sent,) = stage.conn.execute("SELECT count(*) FROM message WHERE status = 'sent' AND attempts = 1").fetchone()  # type: ignore[misc]
        assert sent == self.size, f"{sent} of {self.size} messages were sent once"
        (groups,) = stage.conn.execute("SELECT count(DISTINCT started_at) FROM attempt").fetchone()  # type: ignore[misc]
        self.group = max(1, round(self.size / groups))
        self.note = f"{self.in_flight} at once, groups of {self.group}"
        return self.size / took


class Dispatch(Sending):
    """Floor: claim, hand over and finish by hand-written SQL, one connection, in groups as large as ours were."""

    family, name, full, aim, loops = "dispatch", "dispatch", 20_000, 0.5, 1

    def prepare(self) -> None:
        self.account = self.stage.account("instant", max_in_flight=self.in_flight)
        self.resources.enter_context(self.stage.loops("dispatch", self.loops))

    def floor(self) -> float:
        conn = self.stage.conn
        self.stage.empty("floor.message", "floor.attempt", "floor.event", "floor.queue")
        keys = fill.keys(self.size, fill.JUST_NOW)
        fill.copy(conn, "floor.message", ("id", "status"), ((key, 0) for key in keys))
        columns = ("message_id", "number", "account_id", "priority", "due_at")
        fill.copy(conn, "floor.queue", columns, ((key, 1, 1, 5, fill.now()) for key in keys))
        self.stage.analyze("floor.message", "floor.queue")
        started = time.perf_counter()
        done = floors.dispatch(conn, self.group)
        took = time.perf_counter() - started
        assert done == self.size
        return self.size / took


class Smtp(Sending):
    """Floor: smtplib with kept connections and a message that is written already; as many connections and processes."""

    family, name, full, aim, loops = "smtp", "smtp, two processes", 3_000, 0.6, 2

    def prepare(self) -> None:
        self.port = self.resources.enter_context(sink())
        settings = {"host": "127.0.0.1", "port": self.port, "security": "none", "helo": "bench.example.com"}
        self.account = self.stage.account("smtp", max_in_flight=self.in_flight, settings=settings)
        self.resources.enter_context(self.stage.loops("dispatch", self.loops))

    def floor(self) -> float:
        share = [str(self.size // self.loops), str(self.in_flight // self.loops)]
        command = [sys.executable, "-m", "tests.benchmarks.smtp_floor", str(self.port), *share]
        senders = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(self.loops)
        ]
        for sender in senders:
            assert sender.stdout is not None and sender.stdout.readline() == "ready\n"
        started = time.perf_counter()
        for sender in senders:
            sender.communicate("go\n")
        took = time.perf_counter() - started
        assert all(sender.returncode == 0 for sender in senders)
        return self.size // self.loops * self.loops / took


@contextmanager
def sink() -> Iterator[int]:
    command = [sys.executable, "-m", "tests.benchmarks.sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.terminate()
