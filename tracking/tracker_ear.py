"""The thread of a started DeliveryTracker: it hears what other processes apply, and cleans up every hour. Used by
tracker only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import psycopg
from django.db import close_old_connections, connection

from tracking import news, wake

log = logging.getLogger(__name__)

CLEAN_UP_EVERY = 3600.0  # seconds
RENEW_EVERY, LISTENS_FOR = 10.0, 60  # seconds; what a process that dies leaves behind ends by itself
AWAY = 1.0  # seconds between two tries to connect
_LISTEN = (
    "INSERT INTO tracker_listener (id, project_id, until) VALUES (%s, %s, now() + %s * interval '1 s')"
    " ON CONFLICT (id) DO UPDATE SET until = excluded.until"
)
_FORGET = "DELETE FROM tracker_listener WHERE id = %s OR until < now() - interval '1 hour'"


class Ear:
    """`hear` and `clean_up` are called in this thread; `every`: seconds between two looks at what is due."""

    def __init__(
        self,
        project_id: int,
        hear: Callable[[Sequence[news.News]], None],
        clean_up: Callable[[], Any],
        *,
        every: float,
    ) -> None:
        self._project_id, self._hear, self._clean_up, self._every = project_id, hear, clean_up, every
        self._id = uuid4()
        self._stopping = threading.Event()
        self._heard_everywhere = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)
        self._conn: psycopg.Connection | None = None
        self._params = wake.dsn()

    def open(self) -> None:
        """Returns when every process knows that somebody listens. Raises psycopg.Error where the database is away."""
        self._connect()
        self._thread.start()
        self._heard_everywhere.wait()

    def close(self) -> None:
        """Not from a listener of another thread's choosing: what is being heard is heard to its end."""
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _connect(self) -> psycopg.Connection:
        conn = psycopg.connect(**self._params, autocommit=True)  # type: ignore[arg-type]
        conn.execute(f"LISTEN {news.channel(self._project_id)}")
        self._conn = conn
        self._renew(conn)
        return conn

    def _renew(self, conn: psycopg.Connection) -> None:
        conn.execute(_LISTEN, [self._id, self._project_id, LISTENS_FOR])
        self._renew_at = time.monotonic() + RENEW_EVERY

    def _run(self) -> None:
        known_at, clean_at = time.monotonic() + news.KEPT, time.monotonic() + CLEAN_UP_EVERY
        while not self._stopping.is_set():
            try:
                conn = self._conn or self._connect()
                self._listen(conn, min(self._every, 0.1 if time.monotonic() < known_at else self._every))
            except psycopg.Error as error:
                log.warning("the tracker of project %s hears nothing: %s", self._project_id, error)
                self._conn = None
                self._stopping.wait(AWAY)
            if time.monotonic() >= known_at:
                self._heard_everywhere.set()
            if time.monotonic() >= clean_at:
                clean_at = time.monotonic() + CLEAN_UP_EVERY
                self._safely(self._clean_up)
        self._end()

    def _listen(self, conn: psycopg.Connection, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            for notify in conn.notifies(timeout=min(left, 0.2), stop_after=1):
                heard = news.heard(self._project_id, notify.payload)
                if heard:
                    self._safely(lambda heard=heard: self._hear(heard))  # type: ignore[misc]
        if time.monotonic() >= self._renew_at:
            self._renew(conn)

    def _safely(self, what: Callable[[], Any]) -> None:
        """A fault of a listener or of the database must not end the thread."""
        close_old_connections()
        try:
            what()
        except Exception:
            log.exception("the tracker of project %s failed", self._project_id)

    def _end(self) -> None:
        if self._conn is not None:
            with suppress(psycopg.Error):
                self._conn.execute(_FORGET, [self._id])
                self._conn.close()
        connection.close()
