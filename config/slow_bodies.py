"""Keeps clients that send their bodies slowly, or fetch files slowly, from stopping a web process for good. Used by
config.wsgi.

Granian hands a request over as soon as its headers are there; the body is read from the socket by the thread that
serves the request, and that wait can be neither bounded nor broken off from Python (why: docs/operations.md). The same
thread waits until a client has taken nearly all of a file. So the process is ended, for granian to start anew, when
every one of its threads waits for a client and one of them has waited too long. At that moment no request is being
worked on: nothing that was accepted is lost, and nothing is half done.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]
Waiting = dict["Body | Answer", float]  # for a client, since when; changed by single, atomic operations


def end_process() -> None:
    """At once: an orderly exit would wait for the very threads that are stuck."""
    os._exit(1)


@dataclass(eq=False)
class Guard:
    """The WSGI application around ours. `threads`: how many serve requests; `seconds`: for one body, or one answer,
    in all."""

    application: Application
    threads: int
    seconds: float
    end: Callable[[], None] = end_process
    _waiting: Waiting = field(default_factory=dict)
    _started: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if self._started.acquire(blocking=False):  # by the first request: a server may fork after it has loaded us
            threading.Thread(target=self._watch, name="slow-bodies", daemon=True).start()
        environ["wsgi.input"] = Body(environ["wsgi.input"], self._waiting)
        answer = self.application(environ, start_response)
        # what Django has whole is one part, which the server takes at once
        return Answer(answer, self._waiting) if getattr(answer, "streaming", True) else answer

    def stuck(self) -> bool:
        since = list(self._waiting.values())
        return len(since) >= self.threads and time.monotonic() - min(since) > self.seconds

    def _watch(self) -> None:
        while not self.stuck():
            time.sleep(LOOK_SECONDS)
        log.error("all %d threads wait for slow clients, longer than %g s: ending", self.threads, self.seconds)
        self.end()


class Body:
    """`wsgi.input` that says for how long it has been waited for, from the first read on."""

    def __init__(self, stream: Any, waiting: Waiting) -> None:
        self._stream, self._waiting = stream, waiting
        self._began = 0.0

    def read(self, *size: int) -> bytes:
        return self._timed(self._stream.read, *size)

    def readline(self, *size: int) -> bytes:
        return self._timed(self._stream.readline, *size)

    def readlines(self, *hint: int) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _timed(self, read: Callable[..., bytes], *size: int) -> bytes:
        self._began = self._began or time.monotonic()
        self._waiting[self] = self._began
        try:
            return read(*size)
        finally:
            del self._waiting[self]


class Answer:
    """What the application answers; says since when its client has been taking it."""

    def __init__(self, parts: Iterable[bytes], waiting: Waiting) -> None:
        self._parts, self._waiting = parts, waiting
        self._next = iter(parts).__next__

    def __iter__(self) -> Answer:
        return self

    def __next__(self) -> bytes:
        self._waiting.setdefault(self, time.monotonic())
        try:
            return self._next()
        except BaseException:
            self._waiting.pop(self, None)
            raise

    def close(self) -> None:
        self._waiting.pop(self, None)
        if close := getattr(self._parts, "close", None):
            close()
