"""Wakes the resident loops after a commit. Called by every edge that leaves work for them.

One waker thread a process sends an empty NOTIFY at most every 5 ms: a NOTIFY inside the transaction would make commits
wait for one another. A wake-up that is lost does no harm, the loops also look every second.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection, transaction

log = logging.getLogger(__name__)

DISPATCH = "postroom_dispatch"
RECEIVE = "postroom_receive"
PUBLISH = "postroom_publish"
STREAM = "postroom_stream"
_STOP = ""
MIN_GAP = 0.005  # seconds between two NOTIFYs of one process


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
        self._signal = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self, channel: str) -> None:
        with self._lock:
            if self._pid != os.getpid():  # first use, or first use after a fork: threads do not survive it
                self._pid = os.getpid()
                self._wanted, self._signal = set(), threading.Event()
                self._thread = threading.Thread(target=self._run, args=(dsn(), self._signal), name="waker", daemon=True)
                self._thread.start()
            self._wanted.add(channel)
            self._signal.set()

    def close(self) -> None:
        with self._lock:
            thread, self._thread, self._pid = self._thread, None, 0
            self._wanted.add(_STOP)
            self._signal.set()
        if thread is not None:
            thread.join()

    def _run(self, params: dict[str, object], signal: threading.Event) -> None:
        conn: psycopg.Connection | None = None
        while True:
            signal.wait()
            signal.clear()
            with self._lock:
                wanted, self._wanted = self._wanted, set()
            if _STOP in wanted:
                break
            try:
                if conn is None or conn.closed:
                    conn = psycopg.connect(**params, autocommit=True)  # type: ignore[arg-type]
                for channel in wanted:
                    conn.execute(f"NOTIFY {channel}")
            except psycopg.Error as error:
                log.warning("could not wake %s: %s", ", ".join(sorted(wanted)), error)
                conn = None
            time.sleep(MIN_GAP)
        if conn is not None:
            conn.close()


_waker = _Waker()


def after_commit(channel: str) -> None:
    """Wake the loops of a channel once the current transaction is committed."""
    transaction.on_commit(lambda: _waker.wake(channel), robust=True)


def now(channel: str) -> None:
    """Wake the loops of a channel at once: for edges that work outside a transaction."""
    _waker.wake(channel)


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
