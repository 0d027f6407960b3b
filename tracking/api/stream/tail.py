"""The one thread of the stream process that hears of new events, reads them, and looks after keys and projects.

One LISTEN connection, however many clients there are. A database that goes away is waited for: the position is kept, so
nothing is missed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from django.db import connection

from tracking import wake
from tracking.api.stream.hub import Hub
from tracking.away import AWAY
from tracking.models import ApiKey, Scope
from tracking.services import stream

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds: a lost wake-up costs no more than this
AT_ONCE = 500  # events: half of what may wait for a client, so that one which keeps up is never dropped
GAP = 0.1  # seconds between two looks while there is very much
CHORES = 15.0  # seconds between two looks at keys, and between two heartbeats


class Tail(threading.Thread):
    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="stream-tail", daemon=True)
        self._hub, self._loop = hub, loop
        self._stopping = False
        self._position: int | None = None
        self._chores_at = 0.0
        self.started = asyncio.Event()  # set when the position is known: who joins afterwards misses nothing

    def run(self) -> None:
        while not self._stopping:
            try:
                listener = wake.Listener(wake.STREAM)
                try:
                    self._work(listener)
                finally:
                    listener.close()
            except AWAY as error:
                log.warning("the stream process lost the database: %s", error)
                self._pause()
            except Exception:  # without this thread every stream is silent, and nobody starts it again
                log.exception("the stream process goes on after an error")
                self._pause()
        connection.close()

    @staticmethod
    def _pause() -> None:
        connection.close()
        time.sleep(LOOK_EVERY)

    def stop(self) -> None:
        self._stopping = True

    def _work(self, listener: wake.Listener) -> None:
        if self._position is None:
            self._position = stream.newest()
            self._call(self._begin, self._position)
        while not self._stopping:
            events = stream.after(self._position, AT_ONCE)
            if events:
                self._position = events[-1].number
                self._call(self._hub.deliver, events)
            if len(events) == AT_ONCE:
                time.sleep(GAP)  # clients are given the time to take them
            if time.monotonic() >= self._chores_at:
                self._chores_at = time.monotonic() + CHORES
                self._do_chores()
            if len(events) < AT_ONCE:
                listener.wait(LOOK_EVERY)

    def _begin(self, position: int) -> None:
        self._hub.position = position
        self.started.set()

    def _do_chores(self) -> None:
        if keys := self._hub.keys():
            good = ApiKey.objects.filter(prefix__in=keys, revoked=False, scopes__contains=[Scope.READ])
            if bad := set(keys) - set(good.values_list("prefix", flat=True)):
                self._call(self._hub.end_keys, bad)
        if projects := self._hub.projects():
            stream.still_followed(projects)
        self._call(self._hub.beat)

    def _call(self, what: object, *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *args)  # type: ignore[arg-type]
