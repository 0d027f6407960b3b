"""The launcher: what it refuses, and the whole of `make demo` in a copy of this checkout."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from config import launcher

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
    assert roles == {"cluster": ("cluster", "url"), "web": ("web", "url"), "traffic": ("other", "url")}
    assert [p.name for p in launcher.programs(launcher.make_plan("run", {}), "url")] == ["cluster", "web"]


def test_the_example_is_valid_json_behind_curl():
    lines = launcher.example("http://127.0.0.1:8000", "pr_key")
    body = lines[1].partition("-d '")[2].rstrip("'")
    assert json.loads(body)["channel"] == "email"
