"""Postroom's web server in a process of its own over the test database, and what runs a document's own snippets.

Used by the test modules beside it through the fixture `live` (conftest.py); `serve` is for other settings. A document
is a file of documents/; its fenced blocks are run as they stand, with only host and key replaced.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from config import pgsystem
from tests import agreeing, database
from tracking import loops

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = Path(__file__).resolve().parent / "documents"
START_SECONDS = 90.0
PROGRAMS = {
    "python": (sys.executable, "-"),
    "javascript": ("node", "--input-type=module", "-"),
    "php": ("php",),
    "bash": ("bash", "-eu"),
}


@dataclass(frozen=True)
class Live:
    """A running server. `url` has no slash at its end. Its answers are what the OpenAPI document says."""

    url: str

    def request(self, method: str, path: str, *, key: str = "", **kw: Any) -> requests.Response:
        """One request; `key` goes into the header Authorization."""
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **kw.pop("headers", {})}
        return agreeing.check(requests.request(method, self.url + path, headers=headers, timeout=30, **kw))

    def work(self, *names: str, seconds: float = 0.5) -> None:
        """What the workers would do meanwhile, in the test's own process: send, take in receipts, publish."""
        runs = {loops.DISPATCH: loops.run_dispatch, loops.RECEIVE: loops.run_receive, loops.PUBLISH: loops.run_publish}
        for name in names or runs:
            assert runs[name](0, seconds=seconds, others=lambda: None, handing_on=lambda: None), f"who holds {name}?"


@contextmanager
def serve(log: Path, **environment: str) -> Iterator[Live]:
    """One web process of 8 threads, as config.launcher starts it. `environment`: settings that are wanted otherwise."""
    port = pgsystem.any_free_port()
    server = Live(f"http://127.0.0.1:{port}")
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--http", "1", "--no-ws", "--workers", "1", "--blocking-threads", "8", "--workers-kill-timeout", "2"),
        "config.wsgi:application",
    ]
    ours = {"DATABASE_URL": database.url(), "POSTROOM_ROLE": "web", "DEBUG": "1", "DATABASE_POOL": "6"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **ours, "PUBLIC_URL": server.url, **environment},
            stdout=output,
            stderr=output,
        )
    try:
        assert _answers(process, server.url), log.read_text()
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return requests.get(f"{url}/healthz", timeout=START_SECONDS).status_code == 200
        except requests.ConnectionError:
            time.sleep(0.1)
    return False


def blocks(document: str, language: str) -> list[str]:
    """A document's fenced blocks of that language, in order, without the indentation that they share."""
    text = (DOCUMENTS / f"{document}.txt").read_text()
    found = re.findall(rf"^([ \t]*)```{language}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def run(language: str, code: str, *, seconds: float = 60) -> str:
    """What a snippet prints; the test fails where it ends badly."""
    program, *arguments = PROGRAMS[language]
    if not shutil.which(program):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"there is no {program} here")
    ended = subprocess.run([program, *arguments], input=code, capture_output=True, text=True, timeout=seconds)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout
