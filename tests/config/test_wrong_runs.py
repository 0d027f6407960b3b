"""Commands that are run too early, or wrongly: they say in a sentence what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from config import pgsystem
from tests.benchmarks.database import own

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["check_invariants", "ensure_partitions", "create_api_key --project shop --name web", "work"]


@pytest.fixture(scope="module")
def empty() -> Iterator[str]:
    """A database without a table."""
    found = settings.DATABASES["default"]
    password = f":{found['PASSWORD']}" if found.get("PASSWORD") else ""
    host, port = found["HOST"] or "127.0.0.1", found["PORT"] or 5432
    with own(f"postgresql://{found['USER']}{password}@{host}:{port}/postgres") as url:
        yield url


def run(database: str, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command.split()],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_database(command: str) -> None:
    ended = run(f"postgres://postgres@127.0.0.1:{pgsystem.any_free_port()}/x", f"manage.py {command}")
    assert ended.returncode == 1
    assert ended.stderr.startswith("The database cannot be used: connection failed")
    assert ended.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_before_the_migrations(empty: str, command: str) -> None:
    ended = run(empty, f"manage.py {command}")
    assert ended.returncode == 1
    assert "run manage.py migrate first" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("argument", ["--chunk 0", "--chunk -5", "--show x"])
def test_counts_that_are_none(empty: str, argument: str) -> None:
    ended = run(empty, f"manage.py check_invariants {argument}")
    assert ended.returncode == 2
    assert f"argument {argument.split()[0]}: '{argument.split()[1]}' is not a whole number above 0" in ended.stderr


def test_readyz_before_the_migrations_names_them(empty: str) -> None:
    code = "import django; django.setup(); from django.test import RequestFactory; from tracking import health; "
    code += "answer = health.ready(RequestFactory().get('/readyz')); print(answer.status_code, answer.content.decode())"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": empty, "DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout.startswith("503 "), ended.stderr
    assert "to be applied: run manage.py migrate" in ended.stdout


def test_preparing_without_a_database_says_so() -> None:
    ended = run(f"postgres://postgres@127.0.0.1:{pgsystem.any_free_port()}/x", "-m config.prepare run")
    assert ended.returncode == 1
    assert ended.stderr.startswith("The database cannot be used: ")
