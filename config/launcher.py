"""`python -m config.launcher demo|run`: everything that `make demo` and `make run` start, watch and stop.

One process tree: web server, stream process, cluster of workers and, for the demo, a traffic generator; beside it
the private PostgreSQL where no DATABASE_URL is given. PORT, STREAM_PORT, PUBLIC_URL, DATABASE_URL and PG_BINDIR
are honoured.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config import devpg, pgsystem
from config.supervisor import Program, Stop, say

BASE = Path(__file__).resolve().parent.parent
STATE = BASE / ".state"
LOGS = STATE / "logs"
KEY_FILE = STATE / "demo_key"
SETTLED = "0.5"  # messages a second: more would dwarf the made-up history on the charts
SERVERS = 3  # of the programs, how many there must be before the traffic starts
WEB_WORKERS, WEB_THREADS = "2", "8"  # for two cores; each thread may hold a database connection
READY_SECONDS = 120.0
HOPELESS_DEATHS = 3  # of one program during the start
STALE_SECONDS = 30.0  # how long the workers' heartbeat may be stale before the cluster is restarted
LOOK_SECONDS = 5.0  # between two looks at /readyz and at the database
CLUSTER_GRACE = 50.0  # a worker ends its loop (25 s) and waits for hand-overs under way (20 s)


class Refused(Exception):
    """Nothing was started; the text says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What to start, as the environment wants it."""

    mode: str
    port: int
    environment: Mapping[str, str]
    private_database: bool

    @property
    def stream_port(self) -> int:
        return int(self.environment.get("STREAM_PORT") or self.port + 1)

    @property
    def local_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def public_url(self) -> str:
        return self.environment.get("PUBLIC_URL") or self.local_url


def make_plan(mode: str, environment: Mapping[str, str]) -> Plan:
    text = environment.get("PORT") or "8000"
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise Refused(f"PORT={text} is not a port number.")
    second = environment.get("STREAM_PORT") or str(int(text) + 1)
    if not second.isdigit() or not 0 < int(second) < 65536 or second == text:
        raise Refused(f"STREAM_PORT={second} is not a port number of its own.")
    for name in ("WEB_WORKERS", "WEB_THREADS"):
        number = environment.get(name) or "1"
        if not (number.isascii() and number.isdecimal() and int(number) > 0):
            raise Refused(f"{name}={number} is not a whole number above 0.")
    if not (environment.get("DATABASE_URL") or "postgres://").startswith(("postgres://", "postgresql://")):
        raise Refused("DATABASE_URL must look like postgres://user:password@host:port/name.")
    kept = {**environment, "PORT": text, "STREAM_PORT": second, "PYTHONUNBUFFERED": "1"}
    return Plan(mode, int(text), kept, private_database=not environment.get("DATABASE_URL"))


@contextmanager
def only_launcher() -> Iterator[None]:
    """Two launchers in one checkout would stop each other's database."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    LOGS.mkdir(exist_ok=True)
    with (STATE / "launcher.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"Postroom is already running from {BASE}.") from None
        yield


def check_port(plan: Plan) -> None:
    for name, port in (("PORT", plan.port), ("STREAM_PORT", plan.stream_port)):
        if not pgsystem.port_free(port):
            another = f"{name}={port + 1} make {plan.mode}"
            raise Refused(f"Port {port} is taken. Choose another one with {name}, such as: {another}")


def programs(plan: Plan, database: str) -> list[Program]:
    """In the order of starting; they are stopped the other way round."""
    common = {**plan.environment, "DATABASE_URL": database}
    workers, threads = common.get("WEB_WORKERS") or WEB_WORKERS, common.get("WEB_THREADS") or WEB_THREADS
    manage = [sys.executable, str(BASE / "manage.py")]
    web = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(plan.port)),
        *("--http", "1", "--no-ws", "--workers", workers, "--blocking-threads", threads),
        *("--workers-kill-timeout", "8", "--respawn-failed-workers", "config.wsgi:application"),
    ]
    # one process for any number of streams; each open one counts as a request under way
    stream = [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1"),
        *("--port", str(plan.stream_port), "--http", "1", "--no-ws", "--workers", "1", "--backlog", "4096"),
        *("--backpressure", "20000", "--workers-kill-timeout", "4", "--respawn-failed-workers"),
        "config.asgi:application",
    ]
    cluster = [*manage, "work"]
    traffic = [*manage, "generate_traffic", "--url", plan.local_url, "--key-file", str(KEY_FILE)]
    traffic += ["--rate", "5", "--settle", SETTLED]
    wanted = [
        Program("cluster", cluster, {**common, "POSTROOM_ROLE": "cluster"}, LOGS / "cluster.log", CLUSTER_GRACE),
        Program("stream", stream, {**common, "POSTROOM_ROLE": "stream"}, LOGS / "stream.log"),
        Program("web", web, {**common, "POSTROOM_ROLE": "web"}, LOGS / "web.log"),
    ]
    if plan.mode == "demo":
        wanted.append(Program("traffic", traffic, {**common, "POSTROOM_ROLE": "other"}, LOGS / "traffic.log"))
    return wanted


def ask_ready(plan: Plan) -> tuple[int, str]:
    """Status code and body of /readyz; 0 and the reason when nobody answers."""
    try:
        with urllib.request.urlopen(f"{plan.local_url}/readyz", timeout=5) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def heartbeat_is_stale(code: int, body: str) -> bool:
    """Does /readyz say that the workers are silent? Every other trouble is not cured by restarting them."""
    try:
        return code == 503 and json.loads(body)["checks"]["workers"] != "ok"
    except (ValueError, KeyError, TypeError):
        return False


@dataclass
class Launcher:
    """Starts the programs of a plan, watches over them until it is asked to stop, and stops them."""

    plan: Plan
    stop: Stop
    database: str = ""
    programs: list[Program] = field(default_factory=list)
    _stale_since: float | None = None

    def run(self) -> int:
        """The exit code: 0 when it was asked to stop, 1 when it could not start."""
        try:
            self.database = self._find_database()
            told = self._prepare()
            if told is not None and self._start():
                announce(self.plan, told)
                self._watch()
            return 0 if self.stop.asked else 1
        finally:
            self._shut_down()

    def _find_database(self) -> str:
        if not self.plan.private_database:
            return self.plan.environment["DATABASE_URL"]
        return devpg.ensure(devpg.DEFAULT_HOME)

    # -- starting

    def _prepare(self) -> dict[str, str | None] | None:
        """Run config.prepare; what it tells, or None when it failed or a stop was asked for."""
        say("Preparing the database and the static files …")
        if self.plan.mode == "demo":
            say("The first time, two weeks of sample history are made up for the project demo.")
        log = LOGS / "prepare.log"
        with log.open("wb") as errors:
            child = subprocess.Popen(
                [sys.executable, "-m", "config.prepare", self.plan.mode],
                env={**self.plan.environment, "DATABASE_URL": self.database},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                text=True,
            )
            while child.poll() is None and not self.stop.wait(0.05):
                pass
            if self.stop.asked:
                child.terminate()
            text = child.communicate()[0]
        if child.returncode == 0:
            told: dict[str, str | None] = json.loads(text)
            announce_operator(told)
            if history := told.get("history"):
                say(history)
            return told
        if not self.stop.asked:
            say(f"Preparing failed; the end of {log}:\n{log.read_text(errors='replace')[-3000:]}")
        return None

    def _start(self) -> bool:
        """Start the programs, the traffic only when all is ready; says whether it came to that."""
        self.programs = programs(self.plan, self.database)
        for program in self.programs[:SERVERS]:
            program.start()
        if not self._await_ready():
            return False
        for program in self.programs[SERVERS:]:
            program.start()
        return True

    def _await_ready(self) -> bool:
        say(f"Starting the web server, the streams and the workers; their output goes to {LOGS}/*.log …")
        deadline = time.monotonic() + READY_SECONDS
        code, body = 0, ""
        while not self.stop.wait(0.5) and time.monotonic() < deadline and self._hopeful():
            code, body = ask_ready(self.plan)
            if code == 200:
                return True
            self._tend()
        if not self.stop.asked:
            say(f"Postroom does not become ready; see {LOGS}. /readyz says: {code or ''} {body}")
        return False

    def _hopeful(self) -> bool:
        return all(program.deaths < HOPELESS_DEATHS for program in self.programs)

    # -- watching

    def _tend(self) -> None:
        for program in self.programs:
            program.show_trouble()
            if program.started:
                program.tend()

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self.stop.wait(0.5):
            self._tend()
            if time.monotonic() - looked > LOOK_SECONDS:
                self._look_at_database()
                self._look_at_heartbeat()
                looked = time.monotonic()

    def _look_at_database(self) -> None:
        if not self.plan.private_database or devpg.url(devpg.DEFAULT_HOME):
            return
        try:
            url = devpg.ensure(devpg.DEFAULT_HOME)
        except (pgsystem.DatabaseError, OSError) as error:
            say(f"PostgreSQL has ended and cannot be started: {error}")
            return
        say("PostgreSQL had ended and was started again.")
        if url != self.database:  # its old port was taken meanwhile
            self.database = url
            for program in self.programs:
                program.environment = {**program.environment, "DATABASE_URL": url}
                program.restart("the database has a new address")

    def _look_at_heartbeat(self) -> None:
        code, body = ask_ready(self.plan)
        if not heartbeat_is_stale(code, body):
            self._stale_since = None
            return
        self._stale_since = self._stale_since or time.monotonic()
        if time.monotonic() - self._stale_since > STALE_SECONDS:
            self._stale_since = None
            cluster = self.programs[0]
            cluster.restart(f"no heartbeat of the workers for {STALE_SECONDS:.0f} s")

    # -- stopping

    def _shut_down(self) -> None:
        if self.programs:
            say("Stopping (once more Ctrl-C: at once) …")
        for program in reversed(self.programs):
            program.stop(self.stop)
        if self.plan.private_database:
            devpg.stop(devpg.DEFAULT_HOME)
        say("Postroom has stopped; its data are kept.")


# -- what the terminal shows


def announce_operator(told: Mapping[str, str | None]) -> None:
    """At once, not only when all is ready: the password cannot be shown again."""
    if password := told["operator_password"]:
        say(f"Made the account of the operator. Login: operator   Password: {password}   (shown this once)")


def announce(plan: Plan, told: Mapping[str, str | None]) -> None:
    password = told["operator_password"] or "as shown on the first start"
    python = os.path.relpath(sys.executable)
    lines = [
        "",
        f"Postroom is ready:  {plan.public_url}/",
        f"  Login             operator, password: {password}",
        f"                    (a new one: {python} manage.py changepassword operator)",
    ]
    if key := told.get("demo_key"):
        lines += [f"  API key           {key}", "  Send a message:", *example(plan.public_url, key)]
    else:
        lines += [f"  API key           {python} manage.py create_api_key --project CODE --name NAME"]
    say("\n".join([*lines, f"  Logs              {LOGS}", "Ctrl-C stops everything.", ""]))


def example(url: str, key: str) -> list[str]:
    body = {"channel": "email", "recipient": "ada@example.com", "subject": "Hello", "content": {"text": "It works."}}
    return [
        f"    curl -s {url}/v1/notifications -H 'Authorization: Bearer {key}' \\",
        f"      -H 'Content-Type: application/json' -d '{json.dumps(body)}'",
    ]


def main(arguments: Sequence[str]) -> int:
    """Exit codes: 0 stopped as asked, 1 could not start, 2 refused before anything was started."""
    if len(arguments) != 1 or arguments[0] not in ("demo", "run"):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    stop = Stop()
    stop.listen()
    os.chdir(BASE)
    try:
        plan = make_plan(arguments[0], os.environ)
        check_port(plan)
        with only_launcher():
            return Launcher(plan, stop).run()
    except Refused as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 2
    except pgsystem.DatabaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
