"""Keeps a handful of programs running and ends them without a trace. Called by config.launcher; knows no Django.

Each program leads a session of its own, so that Ctrl-C reaches only the launcher, which then stops them in order, and
so that whatever a program started can be ended with it as one process group. Should the launcher itself be killed, the
kernel sends each program the SIGTERM on which it stops cleanly (PR_SET_PDEATHSIG; Linux only).
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

FIRST_BACKOFF, LAST_BACKOFF = 1.0, 30.0  # seconds before a program that died is started again
STEADY_SECONDS = 60.0  # a program that ran this long begins again with the first back-off
LOG_BYTES = 10_000_000
TROUBLE = re.compile(rb"\b(ERROR|CRITICAL|panicked)\b|^[\w.]+(Error|Exception)\b")  # also a traceback's last line
QUIET_SECONDS = 60.0  # the same trouble is not shown again so soon
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


def say(text: str) -> None:
    """Print at once; a terminal that has gone away must not keep us from stopping cleanly."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _end_with(parent: int) -> None:
    """In the child, between fork and exec: ask for SIGTERM when the launcher dies, and notice if it just has."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Stop:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag; the second signal asks for haste.

    Plain flags and short sleeps: a threading.Event that is set by a signal handler can lock its own waiter out.
    """

    asked: bool = False
    hurry: bool = False

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        self.hurry = self.asked
        self.asked = True

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until a stop is asked for; says whether it is."""
        deadline = time.monotonic() + seconds
        while not self.asked and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.asked


@dataclass
class Program:
    """One supervised program. `grace` is how many seconds it has between SIGTERM and SIGKILL."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    grace: float = 10.0
    deaths: int = field(default=0, init=False)  # in a row, each soon after its start
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _started: float = field(default=0.0, init=False)
    _due: float = field(default=0.0, init=False)
    _read_to: int = field(default=0, init=False)
    _silent_until: dict[bytes, float] = field(default_factory=dict, init=False)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def started(self) -> bool:
        """Was it ever started?"""
        return self._started > 0

    def start(self) -> None:
        parent = os.getpid()
        self._rotate_log()
        with self.log.open("ab") as output:
            self._read_to = self._read_to or output.tell()
            self._process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _end_with(parent),  # safe: the launcher has one thread
            )
        self._started = time.monotonic()

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
            self._read_to = 0

    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self, stop: Stop | None = None) -> None:
        """SIGTERM to the main process, which stops its own children; after `grace` SIGKILL to all that is left."""
        if self._process is None:
            return
        deadline = time.monotonic() + self.grace
        self._process.send_signal(signal.SIGTERM)
        while not self.ended() and time.monotonic() < deadline and not (stop and stop.hurry):
            time.sleep(0.02)
        if not self.ended():
            say(f"{self.name} did not stop in time and is killed.")
        self._clear()

    def _clear(self) -> int:
        """Kill what is left of the process group, reap the main process; returns its exit code."""
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._process = None
        return code

    def tend(self) -> None:
        """One look: report a death, start again when the back-off is over."""
        if self._process is not None and self.ended():
            self.show_trouble()
            code, lived = self._clear(), time.monotonic() - self._started
            self.deaths = 1 if lived > STEADY_SECONDS else self.deaths + 1
            wait = min(FIRST_BACKOFF * 2 ** (self.deaths - 1), LAST_BACKOFF)
            self._due = time.monotonic() + wait
            self._note(f"it ended: {_reason(code)}")
            say(f"{self.name} ended ({_reason(code)}); it is started again in {wait:.0f} s. Log: {self.log}")
        if self._process is None and time.monotonic() >= self._due:
            self.start()

    def restart(self, why: str) -> None:
        self._note(why)
        say(f"{self.name} is restarted: {why}")
        self.stop()
        self.start()

    def _note(self, why: str) -> None:
        """Beside the log, for the system page: when it was started again last, why, and how many times in all."""
        path = self.log.with_suffix(".restart.json")
        with suppress(OSError):
            told = {"program": self.name, "at": datetime.now(UTC).isoformat(), "why": why, "count": _count(path) + 1}
            draft = path.with_suffix(".draft")
            draft.write_text(json.dumps(told))
            draft.replace(path)

    def show_trouble(self) -> None:
        """Print the errors that the program has logged since the last look; the same ones once a minute."""
        for line in self._news():
            kind = re.sub(rb"[0-9a-f-]*\d[0-9a-f-]*", b"", line)  # without times and ids
            now = time.monotonic()
            if TROUBLE.search(line) and b"/readyz" not in line and self._silent_until.get(kind, 0.0) <= now:
                self._silent_until[kind] = now + QUIET_SECONDS
                say(f"[{self.name}] {line.decode(errors='replace')[:300]}")

    def _news(self) -> list[bytes]:
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(self._read_to)
            news = file.read()
            self._read_to += len(news)
            return news.splitlines()
        return []


def _count(path: Path) -> int:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads(path.read_text())["count"])
    return 0


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
