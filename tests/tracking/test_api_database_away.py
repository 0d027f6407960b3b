"""The database goes away under a live server: 503 with Retry-After, never a success; and it recovers by itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from django.db import connection
from django.test import Client

from config import pgsystem
from tests.builders import make_account, make_key, make_project
from tracking.models import Message

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

BASE = Path(__file__).resolve().parents[2]
DOCUMENT = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}}


class Gate:
    """A port in front of the database that can be shut: open connections are cut, new ones refused."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._pairs: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = pgsystem.any_free_port()  # the same one when it is opened again
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        pairs, self._pairs = self._pairs, []
        for each in pairs:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other side had closed it already
            finally:
                each.close()

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                theirs, _ = listener.accept()
                ours = socket.create_connection(self._target)
            except OSError:
                return
            self._pairs += [theirs, ours]
            for source, target in ((theirs, ours), (ours, theirs)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def gate() -> Iterator[Gate]:
    wanted = connection.get_connection_params()
    gate = Gate(str(wanted.get("host") or "127.0.0.1"), int(wanted.get("port") or 5432))
    yield gate
    gate.shut()


@pytest.fixture
def server(gate: Gate, tmp_path: Path) -> Iterator[str]:
    """A real web server whose database stands behind the gate; its address."""
    params = connection.get_connection_params()
    password = f":{params['password']}" if params.get("password") else ""
    url = f"postgres://{params['user']}{password}@127.0.0.1:{gate.port}/{params['dbname']}"
    port = pgsystem.any_free_port()
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--http", "1", "--no-ws", "--workers", "1", "--blocking-threads", "4", "config.wsgi:application"),
    ]
    environment = {**os.environ, "DATABASE_URL": url, "POSTROOM_ROLE": "web", "DEBUG": "1", "DATABASE_POOL": "4"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=BASE, env=environment, stdout=log, stderr=log)
    try:
        yield wait_until_up(f"http://127.0.0.1:{port}", process, tmp_path / "server.log")
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_until_up(address: str, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            requests.get(f"{address}/v1/nowhere", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return address
    raise AssertionError(log.read_text())


def until(status: int, ask: Callable[[], requests.Response], seconds: float = 30) -> requests.Response:
    deadline = time.monotonic() + seconds
    while (answer := ask()).status_code != status and time.monotonic() < deadline:
        time.sleep(0.2)
    assert answer.status_code == status, answer.text
    return answer


def test_a_database_that_goes_away_and_comes_back(gate: Gate, server: str) -> None:
    project = make_project()
    account = make_account(project)
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {make_key(project)}"

    def post() -> requests.Response:
        return session.post(f"{server}/v1/notifications", json=DOCUMENT, timeout=30)

    assert post().status_code == 202
    gate.shut()
    for answer in (post(), session.get(f"{server}/v1/notifications", timeout=30)):
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:postroom:unavailable"
    time.sleep(2.5)  # what is known of keys and accounts is forgotten
    assert post().status_code == 503
    hook = session.post(f"{server}/hooks/{account.hook_token}", json={}, timeout=30)
    assert hook.status_code == 503
    assert int(hook.headers["Retry-After"]) > 0
    assert Message.objects.count() == 1

    gate.open()
    until(202, post)
    assert Message.objects.count() == 2


def test_a_connection_that_breaks_is_no_500() -> None:
    """The backend is ended in the middle of its work, as by a restart or a failover."""
    project = make_project()
    make_account(project)
    client = Client(headers={"Authorization": f"Bearer {make_key(project)}"})
    assert client.post("/v1/notifications", DOCUMENT, content_type="application/json").status_code == 202

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    finally:
        other.close()
    answer = client.post("/v1/notifications", DOCUMENT, content_type="application/json")
    assert answer.status_code == 503
    assert answer["Retry-After"]
    connection.close()
    assert client.post("/v1/notifications", DOCUMENT, content_type="application/json").status_code == 202
    assert Message.objects.count() == 2
