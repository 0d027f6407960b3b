"""A whole installation for one test: its own database, web server and workers under the real launcher, on 127.0.0.1.

Every process carries a mark in its environment, so that a test can name them, kill them by id, and see that none is
left. Logs are printed when a test fails.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psycopg
import requests

from config import devpg, launcher, pgsystem
from providers.base import Account, Channel

ROOT = Path(__file__).absolute().parents[2]
MARK = "POSTROOM_E2E"
HOOK_SECRET = "end-to-end-hook-secret"
START_SECONDS = 150.0
STOP_SECONDS = 70.0  # more than the launcher allows to any of its programs


def until(condition: Callable[[], Any], seconds: float, what: object = "", *, every: float = 0.05) -> Any:
    """Wait for a true value and return it. `what` says what went wrong; it may be a function."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what() if callable(what) else what}")
        time.sleep(every)
    return found


# -- databases


class PrivateServer:
    """A PostgreSQL that belongs to one test, to be stopped and killed at will."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self) -> str:
        return devpg.ensure(self.home)

    def stop(self) -> None:
        devpg.stop(self.home)

    def postmaster(self) -> int:
        (place,) = pgsystem.real_home(self.home).glob("[0-9]*")
        return int((place / "data" / "postmaster.pid").read_text().split()[0])


@contextmanager
def private_server() -> Iterator[PrivateServer]:
    home = Path(tempfile.mkdtemp(prefix="postroom-e2e-pg-"))
    home.chmod(0o755)
    server = PrivateServer(home / "pg")
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(pgsystem.real_home(server.home), ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


# -- processes


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    command: str


def _process(place: Path, mark: bytes) -> Process | None:
    with suppress(OSError, ValueError, IndexError):
        if mark not in (place / "environ").read_bytes().split(b"\0"):
            return None
        state, parent = (place / "stat").read_text().rpartition(")")[2].split()[:2]
        command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return None if state == "Z" else Process(int(place.name), int(parent), command)
    return None


def kill(pid: int) -> bool:
    """kill -9; False where it is gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


# -- the installation


@dataclass
class Stack:
    """`database`: the URL of an empty database. `private`: the launcher looks after that server and restarts it."""

    home: Path
    database: str
    accounts: Sequence[Mapping[str, Any]]
    environment: Mapping[str, str] = field(default_factory=dict)
    retry: Mapping[str, Any] = field(default_factory=dict)
    stale_seconds: float = launcher.STALE_SECONDS
    private: PrivateServer | None = None

    key: str = field(default="", init=False)
    made: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)
    _supervisor: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self.port = pgsystem.any_free_port(following=1)  # STREAM_PORT is the next one
        self.url = f"http://127.0.0.1:{self.port}"
        self.logs = self.home / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "PUBLIC_URL", "POSTROOM_ROLE")}
        self.variables = {
            **inherited,
            MARK: self.mark,
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
            "SECRET_KEY": "end-to-end",
            "CREDENTIALS_KEYS": "end-to-end",
            "ADDRESS_KEY": "end-to-end",
            **self.environment,
        }

    # -- starting and stopping

    def __enter__(self) -> Stack:
        try:
            self._furnish()
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            sys.stdout.write(self.log_tails())
        self.end()

    def _furnish(self) -> None:
        wanted = {"accounts": [self._with_ledger(account) for account in self.accounts], "retry": dict(self.retry)}
        answer = self.run("-m", "tests.e2e.furnish", given=orjson.dumps(wanted))
        told = orjson.loads(answer)
        self.key, self.made = told["key"], {account["code"]: account for account in told["accounts"]}

    def _with_ledger(self, account: Mapping[str, Any]) -> dict[str, Any]:
        if account["kind"] != "sandbox":
            return dict(account)
        settings = {"ledger": str(self.home / f"{account['code']}.jsonl"), **account.get("settings", {})}
        return {"credentials": {"hook_secret": HOOK_SECRET}, **account, "settings": settings}

    def run(self, *arguments: str, given: bytes = b"", check: bool = True) -> bytes:
        """A Python program against this installation's database; its standard output."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**self.variables, "DATABASE_URL": self.database},
            input=given,
            capture_output=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stderr.decode()[-4000:]}")
        return done.stdout

    def start(self) -> None:
        """The launcher, and all that it starts; returns when /readyz says 200."""
        variables = self.variables if self.private else {**self.variables, "DATABASE_URL": self.database}
        home = [str(self.private.home)] if self.private else []
        command = [sys.executable, "-m", "tests.e2e.supervise", str(self.logs), str(self.stale_seconds), *home]
        with (self.logs / "supervisor.log").open("ab") as output:
            self._supervisor = subprocess.Popen(
                command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.await_ready(START_SECONDS)

    def await_ready(self, seconds: float) -> None:
        until(lambda: self.alive() and self.ready()[0] == 200, seconds, self.trouble, every=0.3)

    def trouble(self) -> str:
        return f"{self.ready()}\n{self.log_tails()}"

    def alive(self) -> bool:
        assert self._supervisor is not None
        assert self._supervisor.poll() is None, f"the launcher has ended:\n{self.log_tails()}"
        return True

    def stop(self) -> float:
        """SIGTERM to the launcher; how many seconds it took to end everything."""
        assert self._supervisor is not None
        began = time.monotonic()
        self._supervisor.terminate()
        self._supervisor.wait(STOP_SECONDS)
        self._supervisor = None
        return time.monotonic() - began

    def end(self) -> None:
        """Whatever happened: nothing of this installation is left."""
        if self._supervisor is not None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        if self._supervisor is not None:
            self._supervisor.kill()
            self._supervisor.wait()
            self._supervisor = None
        for process in self.processes():
            kill(process.pid)

    # -- looking

    def processes(self) -> list[Process]:
        mark = f"{MARK}={self.mark}".encode()
        found = (_process(place, mark) for place in Path("/proc").glob("[0-9]*"))
        return [process for process in found if process]

    def ready(self) -> tuple[int, str]:
        plan = launcher.Plan("run", self.port, {}, private_database=False)
        return launcher.ask_ready(plan)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True, connect_timeout=5) as conn:
            return conn.execute(statement, values).fetchall()

    def value(self, statement: str, *values: Any) -> Any:
        return self.query(statement, *values)[0][0]

    def account(self, code: str) -> Account:
        """As its adapter sees it: for `start_carrier` and `receipts_of`."""
        made = self.made[code]
        return Account(code, made["kind"], Channel(made["channel"]), made["settings"], made["hook_url"])

    def ledger(self, code: str) -> str:
        return str(self.made[code]["settings"]["ledger"])

    def log_tails(self) -> str:
        """The end of each log, without the refusals of /readyz that the tests themselves cause."""
        told = []
        for log in sorted(self.logs.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            if log.name != "supervisor.log":  # whose last words quote it
                lines = [line for line in lines if "/readyz" not in line]
            told.append(f"\n--- {log.name}\n" + "\n".join(lines[-40:]))
        return "".join(told)

    # -- calling

    def post(self, path: str, document: Any, *, key: str = "", timeout: float = 20.0) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        body = orjson.dumps(document)
        return requests.post(f"{self.url}{path}", data=body, headers=headers, timeout=timeout)

    def send(self, account: str, recipient: str, **more: Any) -> dict[str, Any]:
        """Hand in one message; the answer of the API."""
        document = {"provider": account, "channel": self.made[account]["channel"], "recipient": recipient, **more}
        answer = self.post("/v1/notifications", {"content": {"text": "Hello."}, **document})
        assert answer.status_code == 202, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {self.key}"}, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self, message: str) -> str:
        return str(self.get(f"/v1/notifications/{message}")["status"])

    def await_status(self, message: str, *wanted: str, seconds: float = 30.0) -> None:
        until(lambda: self.status(message) in wanted, seconds, lambda: self.get(f"/v1/notifications/{message}/events"))


def sandbox(code: str, channel: str = "email", **settings: Any) -> dict[str, Any]:
    """An account as `Stack.accounts` wants it. `max_in_flight` is the account's, all else the adapter's setting."""
    in_flight = settings.pop("max_in_flight", 8)
    return {
        "code": code,
        "kind": "sandbox",
        "channel": channel,
        "max_in_flight": in_flight,
        "settings": {"profile": "perfect", "seed": 1, **settings},
    }
