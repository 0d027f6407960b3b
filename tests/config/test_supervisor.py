"""Starting, watching and ending real small programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from config.supervisor import FIRST_BACKOFF, Program, Stop

ROOT = Path(__file__).resolve().parent.parent.parent
OBEDIENT = """
    import signal, sys, time
    def leave(*_):
        print("left in order", flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    print("up", flush=True)
    while True:
        time.sleep(60)
"""
DEAF_WITH_CHILD = """
    import os, signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    print("up" if child else f"child {os.getpid()}", flush=True)
    while True:
        time.sleep(60)
"""


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """A zombie that waits for PID 1 is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    made: list[Program] = []

    def build(code: str, grace: float = 5.0) -> Program:
        command = [sys.executable, "-c", textwrap.dedent(code)]
        program = Program("sample", command, dict(os.environ), tmp_path / f"{len(made)}.log", grace)
        made.append(program)
        return program

    yield build
    for program in made:
        program.grace = 0
        program.stop()


def up(program: Program) -> None:
    program.start()
    eventually(lambda: "up" in program.log.read_text())


def test_a_program_is_asked_to_leave_before_it_is_killed(make):
    program = make(OBEDIENT)
    up(program)
    pid = program.pid
    program.stop()
    assert program.log.read_text().splitlines() == ["up", "left in order"]
    assert not alive(pid)
    assert program.ended()


def test_a_deaf_program_is_killed_with_all_that_it_started(make, capsys):
    program = make(DEAF_WITH_CHILD, grace=0.5)
    up(program)
    eventually(lambda: "child" in program.log.read_text())
    family = [program.pid, int(program.log.read_text().partition("child ")[2].split()[0])]
    program.stop()
    eventually(lambda: not any(alive(pid) for pid in family))
    assert "did not stop in time and is killed" in capsys.readouterr().out


def test_haste_skips_the_grace(make):
    program = make(DEAF_WITH_CHILD, grace=60)
    up(program)
    began = time.monotonic()
    program.stop(Stop(asked=True, hurry=True))
    assert time.monotonic() - began < 5


def test_what_a_killed_program_leaves_behind_is_killed_too(make, capsys):
    program = make(DEAF_WITH_CHILD)
    up(program)
    eventually(lambda: "child" in program.log.read_text())
    orphan = int(program.log.read_text().partition("child ")[2].split()[0])
    os.kill(program.pid, signal.SIGKILL)
    eventually(program.ended)
    program.tend()
    eventually(lambda: not alive(orphan))
    assert "sample ended (killed by SIGKILL)" in capsys.readouterr().out


def test_a_dead_program_comes_back_later_and_later(make, capsys):
    program = make("raise SystemExit(3)")
    program.start()
    for wait in (FIRST_BACKOFF, FIRST_BACKOFF * 2):
        eventually(program.ended)
        program.tend()
        assert f"sample ended (exit code 3); it is started again in {wait:.0f} s" in capsys.readouterr().out
        program.tend()
        assert program.pid is None, "it must wait for its back-off"
        began = time.monotonic()
        eventually(lambda: program.tend() or program.pid)
        assert time.monotonic() - began > wait * 0.8


def test_only_new_errors_are_shown_and_the_same_one_not_again(make, capsys):
    program = make("print('00:01 old ERROR', flush=True); {}['missing']")
    program.log.write_text("ancient ERROR\n")
    program.start()
    eventually(program.ended)
    program.show_trouble()
    assert capsys.readouterr().out == "[sample] 00:01 old ERROR\n[sample] KeyError: 'missing'\n"
    with program.log.open("a") as log:
        log.write("00:02 old ERROR\nall is well\n" + "00:03 a CRITICAL thing\n" * 10)
    program.show_trouble()
    assert capsys.readouterr().out == "[sample] 00:03 a CRITICAL thing\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux only")
def test_programs_leave_in_order_when_the_launcher_is_killed(tmp_path):
    log = tmp_path / "log"
    launcher = f"""
        import os, sys, time
        from pathlib import Path
        from config.supervisor import Program
        command = [sys.executable, "-c", {textwrap.dedent(OBEDIENT)!r}]
        program = Program("sample", command, dict(os.environ), Path({str(log)!r}))
        program.start()
        print(program.pid, flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(launcher)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    pid = int(process.stdout.readline())
    eventually(lambda: "up" in log.read_text())
    process.kill()
    process.communicate()
    eventually(lambda: not alive(pid))
    assert log.read_text().splitlines() == ["up", "left in order"]


def test_the_first_signal_asks_and_the_second_hurries():
    code = """
        import os, signal
        from config.supervisor import Stop
        stop = Stop()
        stop.listen()
        print(stop.wait(0.1), stop.hurry)
        os.kill(os.getpid(), signal.SIGTERM)
        print(stop.wait(60), stop.hurry)
        os.kill(os.getpid(), signal.SIGINT)
        print(stop.wait(60), stop.hurry)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    assert shown.splitlines() == ["False False", "True False", "True True"]


def test_what_was_started_again_and_why_is_noted(make):
    program = make(OBEDIENT)
    up(program)
    program.restart("no heartbeat for 30 s")
    told = json.loads(program.log.with_suffix(".restart.json").read_text())
    assert (told["program"], told["why"], told["count"]) == (program.name, "no heartbeat for 30 s", 1)
    assert datetime.fromisoformat(told["at"]).tzinfo is not None
    os.kill(program.pid, signal.SIGKILL)
    eventually(program.ended)
    program.tend()
    told = json.loads(program.log.with_suffix(".restart.json").read_text())
    assert (told["why"], told["count"]) == ("it ended: killed by SIGKILL", 2)


def test_a_broken_note_is_no_reason_to_fail(make):
    program = make(OBEDIENT)
    program.log.with_suffix(".restart.json").write_text("{")
    up(program)
    program.restart("because")
    assert json.loads(program.log.with_suffix(".restart.json").read_text())["count"] == 1
