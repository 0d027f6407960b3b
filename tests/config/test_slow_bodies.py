"""Clients that never finish their requests, against a real web server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from config import pgsystem
from tests import database
from tests.builders import make_account, make_key, make_project
from tracking.models import Message

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 6.0  # the deadline; granian starts no process anew that lived shorter than 5 s
RESPAWN = 12.0  # granian waits 3.5 s, and Django takes its time to load


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """As config.launcher starts it: 2 processes of 8 threads."""
    mine = pgsystem.any_free_port()
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(mine)),
        *("--http", "1", "--no-ws", "--workers", "2", "--blocking-threads", "8", "--workers-kill-timeout", "2"),
        *("--respawn-failed-workers", "config.wsgi:application"),
    ]
    # a connection for each thread, as in the settings: who sends slowly keeps the one by which its key was read
    ours = {"DATABASE_URL": database.url(), "POSTROOM_ROLE": "web", "DEBUG": "1", "DATABASE_POOL": "8"}
    environment = {**os.environ, **ours, "BODY_SECONDS": str(SECONDS), "WEB_THREADS": "8"}
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        assert answered(f"http://127.0.0.1:{mine}/healthz", 60), log.read_text()
        yield "127.0.0.1", mine
    finally:
        process.terminate()
        process.wait(timeout=20)


def answered(url: str, seconds: float) -> float | None:
    """After how many seconds somebody answered, over new connections; None: nobody did."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            if requests.get(url, timeout=seconds).status_code == 200:
                return time.monotonic() - began
        except requests.ConnectionError:
            time.sleep(0.1)  # the process that had the request was ended
    return None


def answered_within(url: str, seconds: float) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=seconds).status_code == 200
    except (requests.Timeout, requests.ConnectionError):
        return False


def slow(address: tuple[str, int], key: str, number: int) -> socket.socket:
    client = socket.create_connection(address, timeout=30)
    form = number % 3 == 0  # a form of the admin, a chunked body or a plain one
    length = "Transfer-Encoding: chunked" if number % 3 == 1 else "Content-Length: 1000"
    head = [
        f"POST {'/admin/login/' if form else '/v1/notifications'} HTTP/1.1",
        f"Host: {address[0]}",
        f"Content-Type: application/{'x-www-form-urlencoded' if form else 'json'}",
        *(("Cookie: csrftoken=" + "a" * 32,) if form else (f"Authorization: Bearer {key}",)),
        length,
    ]
    client.sendall("\r\n".join([*head, "", ""]).encode() + (b"1\r\n{\r\n" if number % 3 == 1 else b"{"))
    return client


def test_forty_slow_bodies_stop_nobody_for_longer_than_the_deadline(server: tuple[str, int]) -> None:
    project = make_project()
    make_account(project)
    key = make_key(project)
    url = f"http://{server[0]}:{server[1]}"
    clients = [slow(server, key, number) for number in range(40)]
    try:
        # Until they hold every thread: without the guard nobody would answer ever again. Both processes must have some;
        # one that was still starting has none of the first.
        while answered_within(url, 1):
            assert len(clients) < 400, "there is always somebody who answers"
            clients += [slow(server, key, number) for number in range(20)]
        waited = answered(f"{url}/healthz", SECONDS + RESPAWN)
        assert waited is not None
        body = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}}
        answer = requests.post(
            f"{url}/v1/notifications", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=SECONDS + RESPAWN
        )
        assert answer.status_code == 202
        assert Message.objects.count() == 1  # of what came slowly nothing is stored
    finally:
        for client in clients:
            client.close()


def not_reading(address: tuple[str, int]) -> socket.socket:
    """Asks for the largest file that needs no key, and takes none of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(address)
    client.sendall(f"GET /static/vendor/plotly.min.js HTTP/1.1\r\nHost: {address[0]}\r\n\r\n".encode())
    return client


def test_files_that_nobody_takes_stop_nobody_for_longer_than_the_deadline(server: tuple[str, int]) -> None:
    url = f"http://{server[0]}:{server[1]}"
    clients = [not_reading(server) for _ in range(40)]
    try:
        while answered_within(url, 1):
            assert len(clients) < 400, "there is always somebody who answers"
            clients += [not_reading(server) for _ in range(20)]
        assert answered(f"{url}/healthz", SECONDS + RESPAWN) is not None
    finally:
        for client in clients:
            client.close()


def test_a_few_slow_bodies_hold_nobody_up_and_are_left_alone(server: tuple[str, int]) -> None:
    project = make_project()
    make_account(project)
    key = make_key(project)
    clients = [slow(server, key, 2) for _ in range(6)]
    try:
        deadline = time.monotonic() + SECONDS + 2
        while time.monotonic() < deadline:
            waited = answered(f"http://{server[0]}:{server[1]}/healthz", 2)
            assert waited is not None and waited < 2
            time.sleep(0.2)
        document = b'{"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}}'
        clients[0].sendall(document[1:].ljust(999))
        assert b"202 Accepted" in clients[0].recv(200)
    finally:
        for client in clients:
            client.close()
