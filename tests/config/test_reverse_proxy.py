"""docs/operations.md's nginx before the real processes: one address for everything, over TLS, and nobody is sent on."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from axes.models import AccessAttempt
from django.conf import LazySettings, global_settings
from django.contrib.auth.models import User

from tests.builders import make_account, make_key, make_project
from tests.config.nginx import Proxied
from tests.tracking.lives import fail
from tests.tracking.streaming import Stream
from tracking.models import Message

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
BODY = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}}
JSON = {"Content-Type": "application/json"}
PASSWORD = "the-right-word-1"


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Proxied]:
    started = Proxied(tmp_path)
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def key() -> str:
    project = make_project()
    make_account(project)
    return make_key(project)


def submit(proxied: Proxied, key: str) -> str:
    answer = proxied.client(key).post(f"{proxied.url}/v1/notifications", json=BODY)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_stream_and_long_polls_at_the_one_address(proxied: Proxied, key: str) -> None:
    """Nobody follows a redirection here: whoever is sent on fails."""
    stream = Stream(proxied.port, key, context=proxied.context()).ready()
    first = submit(proxied, key)
    stream.until(stream.changes)
    assert [(one.data["notification_id"], one.data["status"]) for one in stream.changes()] == [(first, "pending")]
    stream.close()
    second = submit(proxied, key)
    resumed = Stream(proxied.port, key, last=stream.last, context=proxied.context()).ready()
    resumed.until(resumed.changes)
    assert [one.data["notification_id"] for one in resumed.changes()] == [second], "without gap, without repetition"
    assert {one.kind for one in resumed.told} == {"status", "ready"}
    for message, prefix in ((first, ""), (second, "/api")):
        opened = proxied.client(key).get(f"{proxied.url}{prefix}/v1/stream", stream=True)
        assert (opened.status_code, opened.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        opened.close()
        poll(proxied, key, f"{proxied.url}{prefix}/v1/notifications/{message}", message)


def poll(proxied: Proxied, key: str, address: str, message: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: (proxied.client(key).get(f"{address}?wait=30"), time.monotonic()))
        time.sleep(1)
        assert not waiting.done(), waiting.result()[0].headers
        fail(UUID(message))
        changed = time.monotonic()
        answer, at = waiting.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "failed") and at - changed < 5
    assert proxied.client(key).get(address).json() == answer.json()


def test_operators_log_in_and_a_forged_address_is_not_believed(proxied: Proxied, settings: LazySettings) -> None:
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS  # the web process knows not those of the tests
    User.objects.create_superuser("olga", password=PASSWORD)
    browser, page = proxied.client(address="127.0.0.7"), f"{proxied.url}/admin/login/"
    shown = browser.get(page)
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', shown.text)
    assert shown.status_code == 200 and token
    form = {"username": "olga", "csrfmiddlewaretoken": token[1], "next": "/admin/"}
    headers = {"Origin": proxied.url, "Referer": page, "X-Forwarded-For": "192.0.2.66"}
    assert browser.post(page, {**form, "password": "wrong"}, headers=headers).status_code == 200
    assert list(AccessAttempt.objects.values_list("ip_address", flat=True)) == ["127.0.0.7"]
    entered = browser.post(page, {**form, "password": PASSWORD}, headers=headers)
    assert (entered.status_code, entered.headers["Location"]) == (302, "/admin/")
    assert browser.get(f"{proxied.url}/admin/").status_code == 200
    assert all(cookie.secure for cookie in browser.cookies)


def test_large_and_slow_bodies_reach_nobody(proxied: Proxied, key: str) -> None:
    for megabytes, media_type in ((12, "text/html"), (10.5, "application/problem+json")):  # nginx' refusal, and ours
        body = b" " * int(megabytes * 1024 * 1024)
        answer = proxied.client(key).post(f"{proxied.url}/v1/notifications", data=body, headers=JSON)
        assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (413, media_type)
    slow = [slow_body(proxied, key) for _ in range(32)]  # twice as many as the web processes have threads
    time.sleep(1)  # any that were passed on hold them by now
    began = time.monotonic()
    submit(proxied, key)
    assert time.monotonic() - began < 5
    assert Message.objects.count() == 1
    for client in slow:
        client.close()


def slow_body(proxied: Proxied, key: str) -> socket.socket:
    """A client that sends the first byte, and then nothing."""
    bare = socket.create_connection(("127.0.0.1", proxied.port), 10)
    client = proxied.context().wrap_socket(bare, server_hostname="127.0.0.1")
    fields = (
        "Host: 127.0.0.1",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        "Content-Length: 200",
    )
    client.sendall("\r\n".join(["POST /v1/notifications HTTP/1.1", *fields, "", "{"]).encode())
    return client
