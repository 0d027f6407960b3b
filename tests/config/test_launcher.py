"""The launcher: what it refuses, and the whole of `make demo` in a copy of this checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config import devpg, launcher, pgsystem

ROOT = Path(__file__).resolve().parent.parent.parent


def launch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "config.launcher", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_taken_port_is_refused_before_anything_starts():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = launch("run", PORT=str(port))
    assert ended.returncode == 2
    assert ended.stderr == f"Port {port} is taken. Choose another one with PORT, such as: PORT={port + 1} make run\n"
    assert ended.stdout == ""


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(port: str):
    ended = launch("demo", PORT=port)
    assert (ended.returncode, ended.stderr) == (2, f"PORT={port} is not a port number.\n")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WEB_THREADS", "many", "WEB_THREADS=many is not a whole number above 0.\n"),
        ("WEB_WORKERS", "0", "WEB_WORKERS=0 is not a whole number above 0.\n"),
        ("DATABASE_URL", "mysql://a/b", "DATABASE_URL must look like postgres://user:password@host:port/name.\n"),
    ],
)
def test_settings_that_are_none_are_refused(name: str, value: str, said: str):
    ended = launch("run", **{"PORT": "8000", name: value})
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, said, "")


@pytest.mark.parametrize("arguments", [(), ("dance",), ("run", "demo")])
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]):
    assert launch(*arguments).returncode == 2


def test_the_environment_makes_the_plan():
    plan = launcher.make_plan("run", {})
    assert (plan.port, plan.local_url, plan.public_url, plan.private_database) == (
        8000,
        "http://127.0.0.1:8000",
        "http://127.0.0.1:8000",
        True,
    )
    plan = launcher.make_plan(
        "demo", {"PORT": "8123", "PUBLIC_URL": "https://post.example", "DATABASE_URL": "postgresql://db/x"}
    )
    assert (plan.port, plan.local_url, plan.public_url, plan.private_database) == (
        8123,
        "http://127.0.0.1:8123",
        "https://post.example",
        False,
    )


def test_each_program_knows_its_role_and_database():
    plan = launcher.make_plan("demo", {"PORT": "8123"})
    roles = {
        p.name: (p.environment["POSTROOM_ROLE"], p.environment["DATABASE_URL"]) for p in launcher.programs(plan, "url")
    }
    assert roles == {name: (name, "url") for name in ("cluster", "stream", "web")} | {"traffic": ("other", "url")}
    assert [p.name for p in launcher.programs(launcher.make_plan("run", {}), "url")] == ["cluster", "stream", "web"]


def test_streams_have_a_port_of_their_own():
    assert launcher.make_plan("run", {"PORT": "8123"}).stream_port == 8124
    plan = launcher.make_plan("run", {"PORT": "8123", "STREAM_PORT": "9000"})
    (stream,) = (p for p in launcher.programs(plan, "url") if p.name == "stream")
    assert "config.asgi:application" in stream.command and "9000" in stream.command
    assert plan.environment["STREAM_PORT"] == "9000", "the web process tells clients where it is"
    for port in ("8123", "none", "0"):
        ended = launch("run", PORT="8123", STREAM_PORT=port)
        assert (ended.returncode, ended.stderr) == (2, f"STREAM_PORT={port} is not a port number of its own.\n")


def test_the_example_is_valid_json_behind_curl():
    lines = launcher.example("http://127.0.0.1:8000", "pr_key")
    body = lines[1].partition("-d '")[2].rstrip("'")
    assert json.loads(body)["channel"] == "email"


@pytest.mark.parametrize(
    ("code", "body", "stale"),
    [
        (200, '{"status": "ready", "checks": {"database": "ok", "workers": "ok"}}', False),
        (503, '{"status": "not ready", "checks": {"database": "ok", "workers": "no sign of life"}}', True),
        (503, '{"status": "not ready", "checks": {"database": "cannot be reached"}}', False),
        (503, '{"status": "not ready", "checks": {"partitions": "missing", "workers": "ok"}}', False),
        (502, "<html>", False),
        (503, "[]", False),
        (0, "connection refused", False),
    ],
)
def test_only_silent_workers_are_restarted(code: int, body: str, stale: bool):
    assert launcher.heartbeat_is_stale(code, body) is stale


# -- the whole, in a copy with a database of its own


class Demo:
    """One run of `make demo` (without make) in a copy of the checkout."""

    def __init__(self, copy: Path, port: int) -> None:
        self.copy, self.port = copy, port
        self.output = copy.parent / "output"
        environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "PUBLIC_URL")}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "config.launcher", "demo"],
                cwd=copy,
                env={**environment, "PORT": str(port)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def shown(self) -> str:
        return self.output.read_text()

    def wait_until(self, condition: Callable[[], object], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the launcher has ended:\n{self.shown}"
            assert time.monotonic() < deadline, f"it did not come to pass:\n{self.shown}{self.logs()}"
            time.sleep(0.1)

    def wait_until_ready(self) -> None:
        self.wait_until(lambda: "Ctrl-C stops everything." in self.shown, 150)

    def logs(self) -> str:
        return "".join(f"\n--- {log.name}\n{log.read_text()[-2000:]}" for log in self.copy.glob(".state/logs/*"))

    def key(self) -> str:
        return re.search(r"API key +(\S+)", self.shown)[1]

    def programs(self) -> dict[str, int]:
        """Name → process id of the launcher's own children."""
        listed = subprocess.run(
            ["ps", "-ww", "--ppid", str(self.process.pid), "-o", "pid=,args="],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        words = {
            "cluster": "manage.py work",
            "stream": "config.asgi",
            "web": "config.wsgi",
            "traffic": "generate_traffic",
        }
        lines = listed.splitlines()
        return {name: int(line.split()[0]) for name, word in words.items() for line in lines if word in line}

    def survivors(self) -> list[str]:
        """Processes of this run, PostgreSQL's included: those that name the copy or work in it."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                place, arguments = os.readlink(process / "cwd"), (process / "cmdline").read_bytes()
            except OSError:
                continue
            if place.startswith(str(self.copy)) or os.fsencode(self.copy) in arguments:
                found.append(f"{process.name} {arguments.decode(errors='replace')}")
        return found


@pytest.fixture
def demo() -> Iterator[Callable[[], Demo]]:
    directory = Path(tempfile.mkdtemp(prefix="postroom-demo-")).resolve()
    directory.chmod(0o755)
    unwanted = shutil.ignore_patterns(".*", "staticfiles", "__pycache__", "tests")
    copy, port = directory / "checkout", pgsystem.any_free_port(following=1)
    shutil.copytree(ROOT, copy, ignore=unwanted)
    demos: list[Demo] = []

    def start() -> Demo:
        demos.append(Demo(copy, port))
        return demos[-1]

    yield start
    for started in demos:
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGTERM)
            started.process.send_signal(signal.SIGTERM)
            started.process.wait(timeout=60)
    devpg.stop(copy / ".postgres")
    shutil.rmtree(directory)


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status


STATUSES = ("pending", "sent", "delivered", "bounced", "failed", "read")
SHOWN_WITHIN = 120  # seconds, for a loaded machine; 60 are promised


def newest(demo: Demo, since: datetime, **wanted: str) -> list[dict[str, Any]]:
    """Up to 200 of the messages that were handed in since: the made-up history is older."""
    query = urllib.parse.urlencode({"created_after": since.isoformat(), "limit": "200", **wanted})
    request = urllib.request.Request(
        f"http://127.0.0.1:{demo.port}/v1/notifications?{query}", headers={"Authorization": f"Bearer {demo.key()}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["notifications"]


def missing(demo: Demo, since: datetime) -> list[str]:
    """Of what the demonstration promises to show."""
    unseen = [status for status in STATUSES if not newest(demo, since, status=status)]
    retried = any(message["tracking"]["attempts"] > 1 for message in newest(demo, since))
    return unseen + ([] if retried else ["a retry"])


def wait_until_everything_is_shown(demo: Demo, since: datetime) -> float:
    """The seconds until messages in every status are there at the same time, with retries among them."""
    began = time.monotonic()
    while lacking := missing(demo, since):
        assert demo.process.poll() is None, f"the launcher has ended:\n{demo.shown}"
        assert time.monotonic() - began < SHOWN_WITHIN, f"no message shows {lacking}:\n{demo.shown}{demo.logs()}"
        time.sleep(1)
    return time.monotonic() - began


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_the_demo_runs_heals_and_leaves_nothing_behind(demo: Callable[[], Demo]):
    first = demo()
    first.wait_until_ready()
    ready_at = datetime.now(UTC)
    assert re.search(r"Login: operator +Password: \S{12,} ", first.shown)
    assert get(f"http://127.0.0.1:{first.port}/readyz") == 200
    assert set(first.programs()) == {"cluster", "stream", "web", "traffic"}
    assert get(f"http://127.0.0.1:{first.port + 1}/healthz") == 200
    took = wait_until_everything_is_shown(first, ready_at)
    sys.stdout.write(f"Every status and a retry were there {took:.0f} s after the demonstration was ready.\n")

    curl = first.shown.partition("Send a message:\n")[2].partition("Logs")[0].strip()
    answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True)
    assert '"id"' in answer.stdout, answer.stdout + first.logs()

    killed = first.programs()["cluster"]
    os.kill(killed, signal.SIGKILL)
    first.wait_until(lambda: first.programs().get("cluster", killed) != killed, 30)
    assert "cluster ended (killed by SIGKILL)" in first.shown

    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(timeout=100) == 0, first.shown
    assert first.survivors() == []
    assert pgsystem.port_free(first.port)
    assert "did not stop in time" not in first.shown

    second = demo()
    began = time.monotonic()
    second.wait_until_ready()
    assert time.monotonic() - began < 30
    assert second.key() in curl, "the second start must show the same API key"
    assert "Password:" not in second.shown
    children = second.programs()
    second.process.kill()
    second.process.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in children.values()):
        assert time.monotonic() < deadline, second.survivors()
        time.sleep(0.1)
    devpg.stop(second.copy / ".postgres")
    assert second.survivors() == []
