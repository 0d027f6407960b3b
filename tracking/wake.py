"""Wakes the resident loops after a commit. Called by every edge that leaves work for them.

One waker thread a process sends an empty NOTIFY at most every 5 ms: a NOTIFY inside the transaction would make commits
wait for one another. A wake-up that is lost does no harm, the loops also look every second. `tell` sends lines of text
the same way, for news.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from django.db import connection, transaction

log = logging.getLogger(__name__)

DISPATCH = "postroom_dispatch"
RECEIVE = "postroom_receive"
PUBLISH = "postroom_publish"
STREAM = "postroom_stream"
_STOP = ""
LOOK_EVERY = 1.0  # seconds after which a loop looks unwoken: a lost wake-up costs no more than this
MIN_GAP = 0.005  # seconds between two NOTIFYs of one process
MAX_PAYLOAD = 7_900  # bytes of a NOTIFY; PostgreSQL takes fewer than 8,000
MAX_LINES = 20_000  # that wait to be told: more are dropped while the database is away
AT_EXIT = 2.0  # seconds for the last lines of a process


def dsn() -> dict[str, object]:
    """How to connect outside Django's own connection (LISTEN, NOTIFY, loops' locks)."""
    params = dict(connection.get_connection_params())
    for name in ("pool", "cursor_factory", "context", "prepare_threshold"):
        params.pop(name, None)
    return params


class _Waker:
    def __init__(self) -> None:
        self._pid = 0
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._lines: defaultdict[str, list[str]] = defaultdict(list)
        self._signal = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self, channel: str) -> None:
        with self._lock:
            self._ensure()
            self._wanted.add(channel)
            self._signal.set()

    def tell(self, channel: str, line: str) -> None:
        with self._lock:
            self._ensure()
            if len(self._lines[channel]) < MAX_LINES:
                self._lines[channel].append(line)
            self._signal.set()

    def _ensure(self) -> None:
        if self._pid != os.getpid():  # first use, or first use after a fork: threads do not survive it
            self._pid = os.getpid()
            self._wanted, self._lines, self._signal = set(), defaultdict(list), threading.Event()
            self._thread = threading.Thread(target=self._run, args=(dsn(), self._signal), name="waker", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """The process ends: what is still to be told goes out, if that is quick."""
        if self._pid == os.getpid():
            self.close(AT_EXIT)

    def close(self, seconds: float | None = None) -> None:
        with self._lock:
            thread, self._thread, self._pid = self._thread, None, 0
            self._wanted.add(_STOP)
            self._signal.set()
        if thread is not None:
            thread.join(seconds)

    def _run(self, params: dict[str, object], signal: threading.Event) -> None:
        conn: psycopg.Connection | None = None
        while True:
            signal.wait()
            signal.clear()
            with self._lock:
                wanted, self._wanted = self._wanted, set()
                lines, self._lines = self._lines, defaultdict(list)
            if _STOP in wanted and not lines:
                break
            try:
                if conn is None or conn.closed:
                    conn = psycopg.connect(**params, autocommit=True)  # type: ignore[arg-type]
                for channel in wanted - {_STOP}:
                    conn.execute(f"NOTIFY {channel}")
                for channel, texts in lines.items():
                    for payload in payloads(texts):
                        conn.execute("SELECT pg_notify(%s, %s)", (channel, payload))
            except psycopg.Error as error:
                log.warning("could not wake %s: %s", ", ".join(sorted({*wanted, *lines})), error)
                conn = None
            if _STOP in wanted:
                break
            time.sleep(MIN_GAP)
        if conn is not None:
            conn.close()


def payloads(lines: Sequence[str]) -> Iterator[str]:
    """As many lines as one NOTIFY holds, and again. Lines are ASCII and short."""
    held: list[str] = []
    size = 0
    for line in lines:
        if held and size + len(line) >= MAX_PAYLOAD:
            yield "\n".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line) + 1
    if held:
        yield "\n".join(held)


_waker = _Waker()
atexit.register(_waker.finish)


def after_commit(channel: str) -> None:
    """Wake the loops of a channel once the current transaction is committed."""
    transaction.on_commit(lambda: _waker.wake(channel), robust=True)


def now(channel: str) -> None:
    """Wake the loops of a channel at once: for edges that work outside a transaction."""
    _waker.wake(channel)


def tell(channel: str, line: str) -> None:
    """Send a line to whoever listens: for edges that work outside a transaction."""
    _waker.tell(channel, line)


def close() -> None:
    """End the waker thread and its connection; the next wake-up starts another."""
    _waker.close()


def send(channel: str) -> None:
    """Wake the loops from a process that is about to end, where the waker thread might not come to it."""
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {channel}")


class Listener:
    """A connection that hears wake-ups. One for each loop."""

    def __init__(self, channel: str) -> None:
        self.conn = psycopg.connect(**dsn(), autocommit=True)  # type: ignore[arg-type]
        self.conn.execute(f"LISTEN {channel}")

    def wait(self, seconds: float) -> bool:
        """Wait for a wake-up, `seconds` at most. True where one came."""
        return any(True for _ in self.conn.notifies(timeout=seconds, stop_after=1))

    def fileno(self) -> int:
        return self.conn.fileno()

    def hear(self) -> None:
        """Take the wake-ups that have come, so that the connection is quiet again."""
        for _ in self.conn.notifies(timeout=0):
            pass

    @contextmanager
    def slot(self, kind: int, number: int) -> Iterator[bool]:
        """Hold a loop's slot: an advisory lock that PostgreSQL releases whatever happens to the process."""
        row = self.conn.execute("SELECT pg_try_advisory_lock(%s, %s)", (kind, number)).fetchone()
        held = bool(row and row[0])
        try:
            yield held
        finally:
            if held and not self.conn.closed:
                self.conn.execute("SELECT pg_advisory_unlock(%s, %s)", (kind, number))

    def close(self) -> None:
        self.conn.close()
