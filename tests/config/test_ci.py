"""`.ci/run` with other programs in place of make and the installer: what it runs, and when it fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_15 = "/usr/lib/postgresql/15/bin"
PROGRAMS = ("python3", "git", "curl", "chromium", "php", "npm", "nginx")  # that it would install: these are here


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


class Check:
    """A copy of the script in a place of its own, which looks for PostgreSQL 15 there and is not run by root."""

    def __init__(self, place: Path) -> None:
        self.place, self.postgres = place, place / "15"
        script = (ROOT / ".ci/run").read_text()
        assert DEBIAN_15 in script
        (place / ".ci").mkdir()
        (place / ".ci/run").write_text(script.replace(DEBIAN_15, str(self.postgres)))
        program(place / "bin/make", f'echo "CI=$CI PG_BINDIR=$PG_BINDIR $*" >> {place}/made; [ "$FAILING" != "$2" ]')
        program(place / "bin/id", "echo 1000")
        for name in PROGRAMS:
            program(place / "bin" / name, "exit 0")

    def run(self, failing: str = "") -> subprocess.CompletedProcess[str]:
        path = f"{self.place / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", ".ci/run"],
            cwd=self.place,
            env={"PATH": path, "FAILING": failing},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def made(self) -> list[str]:
        return [line for line in (self.place / "made").read_text().splitlines() if "stop-db" not in line]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(tmp_path)


def test_the_tests_run_on_both_versions(check: Check):
    program(check.postgres / "postgres", "exit 0")
    ended = check.run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert check.made() == [
        "CI=1 PG_BINDIR= --no-print-directory lint",
        "CI=1 PG_BINDIR= --no-print-directory test",
        f"CI=1 PG_BINDIR={check.postgres} --no-print-directory test",
    ]


def test_without_postgresql_15_it_fails_after_all_else(check: Check):
    ended = check.run()
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1].startswith("FAILED: the tests on PostgreSQL 15")
    assert len(check.made()) == 2


def test_all_steps_run_whichever_fails(check: Check):
    program(check.postgres / "postgres", "exit 0")
    ended = check.run(failing="lint")
    assert ended.returncode == 1
    assert "FAILED: make --no-print-directory lint" in ended.stdout
    assert len(check.made()) == 3
