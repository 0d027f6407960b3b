"""A cluster that lives but no longer works: the launcher sees it by the heartbeat, ends it and starts it again."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from config import launcher, pgsystem
from config.supervisor import Program, Stop
from tests.config.test_supervisor import alive, eventually

pytestmark = pytest.mark.processes

# Its first life beats for a second and then hangs, deaf to SIGTERM and with a child; later ones go on beating.
CLUSTER = """
    import os, pathlib, signal, sys, time
    beat, lives = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    hangs = not lives.exists()
    if hangs:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child:
        with lives.open("a") as file:
            file.write(f"{os.getpid()} {child}\\n")
    began = time.monotonic()
    while True:
        if child and not (hangs and time.monotonic() - began > 1):
            beat.touch()
        time.sleep(0.1)
"""
WEB = """
    import http.server, json, pathlib, sys, time
    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            beat = pathlib.Path(sys.argv[1])
            fresh = beat.exists() and time.time() - beat.stat().st_mtime < 1
            body = json.dumps({"checks": {"workers": "ok" if fresh else "no sign of life from tick:0"}}).encode()
            self.send_response(200 if fresh else 503)
            self.end_headers()
            self.wfile.write(body)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Ready).serve_forever()
"""


@dataclass
class Until(Stop):
    """Asks the launcher to stop when the condition holds."""

    condition: Callable[[], bool] = lambda: False
    deadline: float = 0.0

    def wait(self, seconds: float) -> bool:
        self.asked = self.asked or self.condition() or time.monotonic() > self.deadline
        return super().wait(seconds)


def test_a_cluster_without_a_heartbeat_is_ended_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launcher, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(launcher, "STALE_SECONDS", 1.5)
    beat, lives, port = tmp_path / "beat", tmp_path / "lives", pgsystem.any_free_port()

    def program(name: str, code: str, *arguments: object) -> Program:
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
        return Program(name, command, dict(os.environ), tmp_path / f"{name}.log", grace=1.0)

    def lived() -> list[list[int]]:
        lines = lives.read_text().splitlines() if lives.exists() else []
        return [[int(pid) for pid in line.split()] for line in lines]

    second_beats_on = [0.0]

    def settled() -> bool:
        """The second life has been beating for as long as the first was given before it was ended."""
        if len(lived()) < 2:
            return False
        second_beats_on[0] = second_beats_on[0] or time.monotonic()
        return time.monotonic() - second_beats_on[0] > 3

    plan = launcher.Plan("run", port, {"DATABASE_URL": "unused"}, private_database=False)
    watched = launcher.Launcher(plan, Until(condition=settled, deadline=time.monotonic() + 25))
    watched.programs = [program("cluster", CLUSTER, beat, lives), program("web", WEB, beat, port)]
    try:
        for each in watched.programs:
            each.start()
        watched._watch()
        first, second = lived()  # one restart, and no more than one
        eventually(lambda: not any(alive(pid) for pid in first))
        assert all(alive(pid) for pid in second)
        assert watched.programs[0].pid == second[0]
        assert "cluster is restarted: no heartbeat of the workers for" in capsys.readouterr().out
    finally:
        watched._shut_down()
    eventually(lambda: not any(alive(pid) for pid in second))
