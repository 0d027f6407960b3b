"""Real processes of the stream tests, and a client for them."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from config import launcher, pgsystem
from tests import database

ROOT = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
    return found


class Process:
    """A program with a log of its own, in a process group of its own."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.command, self.log = command, log
        self._environment = {**os.environ, "DATABASE_URL": database.url(), "DEBUG": "1", **environment}
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, env=self._environment, stdout=output, stderr=output, start_new_session=True
            )

    def kill(self) -> None:
        """At once, with everything that it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=20)

    def stop(self) -> float:
        """As its supervisor does; in how many seconds it was gone."""
        began = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=30)
        return time.monotonic() - began


class Servers:
    """The stream process, the web server and a publish loop, as the launcher starts them."""

    def __init__(self, logs: Path, **environment: str) -> None:
        self.port = pgsystem.any_free_port(following=1)
        self.stream_port = self.port + 1
        wanted = {"PORT": str(self.port), "STREAM_PORT": str(self.stream_port), "DATABASE_POOL": "4", **environment}
        plan = launcher.make_plan("run", wanted)
        found = {program.name: program for program in launcher.programs(plan, database.url())}
        self.stream, self.web = (
            Process([*found[name].command], {**wanted, "POSTROOM_ROLE": name}, logs / f"{name}.log")
            for name in ("stream", "web")
        )
        loop = [sys.executable, "-m", "tests.benchmarks.worker", "publish", "0"]
        self.publish = Process(loop, {"POSTROOM_ROLE": "cluster"}, logs / "publish.log")
        for port in (self.port, self.stream_port):
            until(lambda port=port: answers(port), 60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream_url(self) -> str:
        return f"http://127.0.0.1:{self.stream_port}"

    def close(self) -> None:
        for process in (self.publish, self.stream, self.web):
            process.stop()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return b" 200 " in client.recv(100)
    except OSError:
        return False


class Told(NamedTuple):
    """One server-sent event."""

    kind: str
    number: int
    data: dict[str, Any]


class Stream:
    """A connection to /v1/stream, read by hand: what has come so far is in `told`."""

    def __init__(
        self, port: int, key: str, query: str = "", last: int | None = None, *, context: ssl.SSLContext | None = None
    ) -> None:
        self.told: list[Told] = []
        self.last = last
        self.status = 0
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        if context:
            self._socket = context.wrap_socket(self._socket, server_hostname="127.0.0.1")
        resume = "" if last is None else f"Last-Event-ID: {last}\r\n"
        head = f"GET /v1/stream{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n{resume}\r\n"
        self._socket.sendall(head.encode())
        self._raw = self._text = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self, seconds: float = 0.05) -> bool:
        """Take what comes within that time. False: the connection has ended."""
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(262_144)
        except TimeoutError:
            return True
        except OSError:
            return False
        self._raw += data
        self._parse()
        return bool(data)

    def until(self, condition: Callable[[], Any], seconds: float = 30) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"it did not come to pass: {self.status} {self._raw!r} {self.told[-5:]}"
            assert self.read(), f"the stream ended: {self.status} {self._raw!r}"
        return found

    def ready(self) -> Stream:
        self.until(lambda: any(one.kind in ("ready", "reset") for one in self.told))
        return self

    def changes(self) -> list[Told]:
        return [one for one in self.told if one.kind == "status"]

    def close(self) -> None:
        self._socket.close()

    def _parse(self) -> None:
        if not self.status:
            head, found, rest = self._raw.partition(b"\r\n\r\n")
            if not found:
                return
            self.status, self._raw = int(head.split()[1]), rest
        while True:  # chunked
            size, found, rest = self._raw.partition(b"\r\n")
            if not found or len(rest) < int(size, 16) + 2:
                break
            self._text += rest[: int(size, 16)]
            self._raw = rest[int(size, 16) + 2 :]
        *blocks, self._text = self._text.split(b"\n\n")
        for block in blocks:
            self._take(block.decode())

    def _take(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "id" in fields:
            self.last = int(fields["id"])
        if "event" in fields:
            self.told.append(Told(fields["event"], int(fields["id"]), json.loads(fields["data"])))
