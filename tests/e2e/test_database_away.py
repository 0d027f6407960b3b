"""PostgreSQL ends under a running installation: never a false success, and no restart of ours afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from providers.sandbox import read_ledger, wire
from tests.e2e.harness import HOOK_SECRET, PrivateServer, Stack, private_server, sandbox, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

BRISK = {"preset": "perfect", "answer": [0, 0.01], "accept": [0, 0.1], "deliver": [0, 0.3], "engage": [0, 0.3]}
BACK_SECONDS = 120.0


@pytest.fixture
def server() -> Iterator[PrivateServer]:
    with private_server() as server:
        yield server


@pytest.fixture
def stack(server: PrivateServer, tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, server.start(), [sandbox("box", profile=BRISK)]) as stack:
        yield stack


def hook(stack: Stack) -> requests.Response:
    body = b'{"events":[]}'
    headers = wire.sign(HOOK_SECRET, body, int(time.time()))
    return requests.post(stack.made["box"]["hook_url"], data=body, headers=headers, timeout=20)


def asked(stack: Stack) -> int:
    headers = {"Authorization": f"Bearer {stack.key}"}
    status = requests.get(f"{stack.url}/v1/notifications", headers=headers, timeout=20).status_code
    assert status in (200, 503)
    return status


def test_away_and_back(stack: Stack, server: PrivateServer):
    before = [stack.send("box", f"u{number}@example.org")["id"] for number in range(20)]
    web = {process.pid for process in stack.processes() if "-m granian" in process.command}
    server.stop()

    message = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello."}}
    answer = stack.post("/v1/notifications", message)
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    told = hook(stack)
    assert (told.status_code, "Retry-After" in told.headers) == (503, True)
    assert requests.get(f"{stack.url}/healthz", timeout=10).status_code == 200
    assert stack.ready()[0] == 503

    assert server.start() == stack.database
    until(lambda: hook(stack).status_code == 200, 30, "the hook takes receipts again")  # a provider comes again, too
    stack.await_ready(BACK_SECONDS)
    until(lambda: all(asked(stack) == 200 for _ in range(20)), 30, "each web process forgets its broken connections")
    after = stack.send("box", "later@example.org")["id"]
    for message in (*before, after):
        stack.await_status(message, "delivered", "read", seconds=BACK_SECONDS)
    assert {h.message for h in read_ledger(stack.ledger("box"))} == {*before, after}
    assert web == {process.pid for process in stack.processes() if "-m granian" in process.command}, "no restart"
