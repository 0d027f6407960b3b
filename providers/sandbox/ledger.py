"""The carrier's own append-only record of what it was handed: one JSON line a hand-over. It is the judge of the crash
tests, and the only thing that a hand-over writes: the receipts follow from it. Written by the adapter, read by the
carrier and by tests (`read_ledger`)."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

LINE_LIMIT = 4096  # bytes: so short a line goes out in one write, and concurrent processes do not interleave
MEMORY = 64 << 20  # bytes at the ledger's end in which a process looks for idempotency keys when it starts
_START = b'{"at":"'


@dataclass(frozen=True, slots=True)
class Handover:
    """A send call that reached the carrier. `outcome` is one of `plan.Answer`."""

    at: str  # RFC 3339, microseconds, UTC
    echo: str
    idempotency_key: str
    recipient: str
    outcome: str
    taken: bool  # the carrier will try to deliver it, whatever the caller was told
    reference: str
    duplicate_of_key: str = ""  # the first hand-over's reference, where the carrier knew the key: nothing is sent again

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.at)

    @property
    def message(self) -> str:
        """The message's id: the part of the echo before the attempt's number."""
        return self.echo.rpartition(".")[0] or self.echo


def read_ledger(path: str | Path) -> list[Handover]:
    """All hand-overs in the order in which the carrier took them; [] where there is no ledger yet."""
    return list(iterate(Path(path).read_bytes())) if Path(path).exists() else []


def iterate(chunk: bytes) -> Iterator[Handover]:
    for line in chunk.splitlines():
        handover = _parse(line)
        if handover is not None:
            yield handover


def _parse(line: bytes) -> Handover | None:
    """A writer that was killed within its write leaves half a line, with the next writer's line glued to it. The half
    was never answered and counts for nothing; inside a string the start's quotes would stand escaped."""
    start = line.rfind(_START)
    if start < 0:
        return None
    try:
        return Handover(**orjson.loads(line[start:]))
    except (orjson.JSONDecodeError, TypeError):
        return None


class Ledger:
    """One process's hand on a ledger. Shared by threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mutex = threading.Lock()
        self._references: dict[str, str] = {}  # idempotency key -> reference
        self._known_to: int | None = None  # the offset up to which `_references` is complete

    def take(self, handover: Handover, *, once: bool = False) -> Handover:
        """The moment at which the carrier gets a message: one write, before any answer. `once` is for a carrier that
        takes idempotency keys: a key that it took before is answered with the first reference."""
        handover = _shortened(handover)
        if not (once and handover.idempotency_key):
            return self._write(handover)
        with self._mutex, self._locked():
            # Held over look-up and write, so that no two processes take the same key.
            self._catch_up()
            first = self._references.get(handover.idempotency_key, "")
            return self._write(replace(handover, reference=first, duplicate_of_key=first) if first else handover)

    def close(self) -> None:
        os.close(self._descriptor)

    def _write(self, handover: Handover) -> Handover:
        line = orjson.dumps(handover, option=orjson.OPT_APPEND_NEWLINE)
        if len(line) > LINE_LIMIT or os.write(self._descriptor, line) != len(line):
            raise OSError(f"{self.path}: a hand-over could not be recorded")
        return handover

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # the kernel releases it when the process dies
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        size = os.fstat(self._descriptor).st_size
        offset = max(0, size - MEMORY) if self._known_to is None else self._known_to
        chunk = os.pread(self._descriptor, size - offset, offset) if size > offset else b""
        for handover in iterate(chunk):
            if handover.taken and handover.idempotency_key:
                self._references.setdefault(handover.idempotency_key, handover.reference)
        self._known_to = size


def _shortened(handover: Handover) -> Handover:
    """The caller's strings cut so that the line keeps below LINE_LIMIT, even where each character needs six bytes."""
    return replace(handover, recipient=handover.recipient[:320], idempotency_key=handover.idempotency_key[:200])


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


_ledgers: dict[str, Ledger] = {}
_opening = threading.Lock()


def open_ledger(path: str) -> Ledger:
    """This process's hand on the ledger: opened once, shared by its threads."""
    with _opening:
        if path not in _ledgers:
            _ledgers[path] = Ledger(Path(path))
        return _ledgers[path]


def _forget_after_fork() -> None:
    """A child shares its parent's open file, and with it the lock: it must let go of both."""
    global _opening
    _opening = threading.Lock()
    for ledger in _ledgers.values():
        ledger.close()
    _ledgers.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
