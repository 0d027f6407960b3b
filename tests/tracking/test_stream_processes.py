"""Streams and long polls against the real processes: what clients get, whatever ends in between."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from django.db import connection, transaction

from tests.benchmarks.crowd import Crowd
from tests.builders import make_account, make_key, make_project
from tests.tracking.lives import fail, queue_message
from tests.tracking.streaming import Servers, Stream, Told, until
from tracking import ids
from tracking.models import ApiKey, Follower, Project
from tracking.services import stream as stream_service

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    started = Servers(tmp_path)
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def project() -> Project:
    return make_project()


def get(url: str, key: str, **kw) -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    return session.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=40, **kw)


def test_a_stream_tells_of_what_happens_and_nothing_else(servers: Servers, project: Project) -> None:
    account, key, other = make_account(project), make_key(project), make_project()
    stream = Stream(servers.stream_port, key).ready()
    filtered = Stream(servers.stream_port, key, "?status=failed&channel=email,sms").ready()
    foreign = Stream(servers.stream_port, make_key(other)).ready()
    message = queue_message(project, account)
    stream.until(stream.changes)
    one = Stream(servers.stream_port, key, f"?notification_id={message}").ready()
    queue_message(project, account)
    fail(message)
    stream.until(lambda: len(stream.changes()) == 3)
    new, _, failed = (change.data for change in stream.changes())
    assert (new["notification_id"], new["previous"], new["status"]) == (str(message), None, "pending")
    assert (failed["notification_id"], failed["previous"], failed["status"]) == (str(message), "pending", "failed")
    assert failed["channel"] == "email" and failed["reason"] and failed["timestamp"].endswith("Z")
    for waiting in (filtered, one):
        waiting.until(waiting.changes)
        assert [change.data for change in waiting.changes()] == [failed]
    queue_message(other, make_account(other))
    foreign.until(foreign.changes)
    assert len(foreign.changes()) == 1


def test_a_stream_is_not_ready_while_a_change_is_written_that_it_would_miss(servers: Servers, project: Project) -> None:
    """By a transaction that began when nobody followed. Who asks for the status after `ready` gets the new one."""
    key, message = make_key(project), queue_message(project, make_account(project))
    with transaction.atomic():
        fail(message)
        stream = Stream(servers.stream_port, key)
        ends = time.monotonic() + stream_service.KNOWN_AFTER + 2
        while time.monotonic() < ends:
            assert stream.read()
        assert stream.status == 200 and not stream.told
    assert [one.kind for one in stream.ready().told] == ["ready"]


def test_clients_are_sent_from_the_one_address_to_the_other(servers: Servers, project: Project) -> None:
    """requests follows a redirection, and leaves the key behind."""
    make_account(project)
    answer = get(f"{servers.url}/v1/stream?channel=email", make_key(project), stream=True)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.url.startswith(f"{servers.stream_url}/v1/stream?channel=email&ticket=")
    lines = answer.iter_lines()
    assert next(line for line in lines if line.startswith(b"event:")) == b"event: ready"
    answer.close()


class Restless:
    """A client that breaks off and resumes, again and again, until it is told to stop and has heard it all."""

    def __init__(self, port: int, key: str, seed: int) -> None:
        self.heard: list[Told] = []
        self.expected: int | None = None
        self._port, self._key, self._chance = port, key, random.Random(seed)
        self._stream = Stream(port, key).ready()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (self.expected is None or len(self.heard) < self.expected):
            for _ in range(self._chance.randrange(1, 8)):
                if not self._stream.read(0.1):
                    break
            self._stream.close()
            self.heard += self._stream.changes()
            self._stream = self._resumed(self._stream.last)

    def _resumed(self, number: int | None) -> Stream:
        while True:
            try:
                return Stream(self._port, self._key, last=number)
            except OSError:  # the process was killed, and starts again
                time.sleep(0.1)

    def finish(self, expected: int) -> list[Told]:
        self.expected = expected
        self._thread.join()
        self._stream.close()
        return self.heard


def test_a_stream_that_breaks_off_is_resumed_without_gap_or_repetition(servers: Servers, project: Project) -> None:
    """Two clients break off at random while four writers change messages; the processes are killed meanwhile."""
    account, key = make_account(project), make_key(project)
    messages: list[str] = []

    def write() -> None:
        for _ in range(40):
            message = queue_message(project, account)
            fail(message)
            messages.append(str(message))
        connection.close()

    clients = [Restless(servers.stream_port, key, seed) for seed in range(2)]
    writers = [threading.Thread(target=write) for _ in range(4)]
    for thread in writers:
        thread.start()
    time.sleep(0.3)
    for process in (servers.publish, servers.stream):
        process.kill()
        process.start()
    for thread in writers:
        thread.join()
    for client in clients:
        told = client.finish(2 * len(messages))
        numbers = [one.number for one in told]
        assert numbers == sorted(set(numbers)), "in order, none twice"
        for status in ("pending", "failed"):
            heard = [one.data["notification_id"] for one in told if one.data["status"] == status]
            assert sorted(heard) == sorted(messages)


def test_what_is_not_kept_any_more_is_said(servers: Servers, project: Project) -> None:
    key = make_key(project)
    first = Stream(servers.stream_port, key).ready()
    queue_message(project, make_account(project))
    first.until(first.changes)
    assert [one.kind for one in first.told] == ["ready", "status"]
    Follower.objects.update(floor=first.last)
    for number in (10**15, first.last - 1):  # never given; before the project was followed, or pruned
        again = Stream(servers.stream_port, key, last=number).ready()
        assert [one.kind for one in again.told] == ["reset"]
    assert [one.kind for one in Stream(servers.stream_port, key, last=first.last).ready().told] == ["ready"]


def test_a_long_poll_answers_as_soon_as_the_status_changes(servers: Servers, project: Project) -> None:
    account, key = make_account(project), make_key(project)
    message = queue_message(project, account)
    address = f"{servers.url}/v1/notifications/{message}"
    began = time.monotonic()
    answer = get(f"{address}?wait=1", key)
    assert answer.status_code == 200 and answer.json()["status"] == "pending" and time.monotonic() - began > 1
    assert answer.json() == get(address, key).json()
    found: list = []
    waiting = threading.Thread(target=lambda: found.append((get(f"{address}?wait=30", key), time.monotonic())))
    waiting.start()
    time.sleep(4)  # until every process knows that the project is followed
    fail(message)
    changed = time.monotonic()
    waiting.join()
    ((told, at),) = found
    assert told.json()["status"] == "failed" and at - changed < 2
    began = time.monotonic()
    assert get(f"{address}?wait=30&status=pending", key).json()["status"] == "failed"
    assert time.monotonic() - began < 5, "another status than the one that the caller knows"


def test_a_revoked_key_and_a_limit_end_streams(tmp_path: Path, project: Project) -> None:
    servers = Servers(tmp_path, STREAMS_PER_KEY="3")
    try:
        key, kept = make_key(project), make_key(project)
        streams = [Stream(servers.stream_port, key).ready() for _ in range(3)]
        other = Stream(servers.stream_port, kept).ready()
        refused = get(f"{servers.stream_url}/v1/stream", key)
        assert refused.status_code == 429 and refused.headers["Retry-After"] and "3 streams" in refused.json()["detail"]
        streams[0].close()
        until(lambda: admitted(servers, key), 10)
        ApiKey.objects.filter(prefix=key.split("_")[1]).update(revoked=True)
        began = time.monotonic()
        while streams[1].read(1):
            assert time.monotonic() - began < 60, "a revoked key's stream goes on"
        assert other.read()
        assert servers.stream.stop() < 6, "SIGTERM ends open streams"
    finally:
        servers.close()


def admitted(servers: Servers, key: str) -> bool:
    """Is there room for one more?"""
    stream = Stream(servers.stream_port, key)
    stream.until(lambda: stream.status)
    return stream.status == 200


def test_a_client_that_takes_nothing_is_dropped_and_the_others_are_not(servers: Servers, project: Project) -> None:
    account, key = make_account(project), make_key(project)
    slow, quick = Stream(servers.stream_port, key).ready(), Stream(servers.stream_port, key).ready()
    message = queue_message(project, account)
    with connection.cursor() as cursor:  # much more than the buffers of a connection hold
        cursor.execute(
            "INSERT INTO stream_event (message_id, project_id, channel, status, previous, reason, at)"
            " SELECT %s, %s, 'email', 'sent', 'pending', '', now() FROM generate_series(1, 60000)",
            [message, project.pk],
        )
    quick.until(lambda: len(quick.changes()) == 60_001, 60)
    while slow.read(1):
        pass
    assert len(slow.changes()) < 60_001
    resumed = Stream(servers.stream_port, key, last=slow.last)
    resumed.until(lambda: len(resumed.changes()) + len(slow.changes()) == 60_001, 60)


def test_a_thousand_open_streams_do_not_slow_the_api_down(tmp_path: Path, project: Project) -> None:
    """Each follows a message of its own, and hears of that one. `make bench` has the figures."""
    servers = Servers(tmp_path, STREAMS_PER_KEY="2000")
    try:
        account, key = make_account(project), make_key(project)
        alone = seconds_to_submit(servers, key)
        messages = [queue_message(project, account) for _ in range(1_000)]
        crowd = Crowd(servers.stream_port, key, [f"?notification_id={message}" for message in messages])
        try:
            assert seconds_to_submit(servers, key) < 3 * alone, "on a machine that others share"
            for message in messages:
                fail(message)
            until(lambda: crowd.changes == 1_000, 60)
            assert not crowd.broken
        finally:
            crowd.close()
    finally:
        servers.close()


def seconds_to_submit(servers: Servers, key: str) -> float:
    """The median of 60, one after another."""
    body = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}}
    session, took = requests.Session(), []
    session.trust_env = False
    for _ in range(60):
        began = time.perf_counter()
        answer = session.post(f"{servers.url}/v1/notifications", json=body, headers={"Authorization": f"Bearer {key}"})
        took.append(time.perf_counter() - began)
        assert answer.status_code == 202
    return statistics.median(took)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("stream?status=lost", 400, "status"),
        ("stream?channel=fax", 400, "channel"),
        ("stream?notification_id=7", 400, "notification_id"),
        ("stream?since=1", 400, "since"),
        ("stream?last_event_id=x", 400, "last_event_id"),
        ("stream?last_event_id=1&last_event_id=2", 400, "last_event_id"),
        ("stream?channel=email&channel=fax", 400, "channel"),
        ("stream?channel=fax&channel=email", 400, "channel"),
        ("notifications/018f0000-0000-7000-8000-000000000000?wait=soon", 400, "wait"),
        ("notifications/018f0000-0000-7000-8000-000000000000?wait=61", 400, "wait"),
        ("notifications/018f0000-0000-7000-8000-000000000000?wait=1&status=lost", 400, "status"),
        ("notifications/018f0000-0000-7000-8000-000000000000?wait=1&known=1", 400, "known"),
        ("notifications/7?wait=1", 404, "nothing"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_bad_input_is_refused_by_both(client, query: str, status: int, said: str) -> None:
    """By the web process before it sends anybody anywhere (the other one has the same code)."""
    answer = client.get(f"/v1/{query}", headers={"Authorization": f"Bearer {make_key(make_project())}"})
    assert answer.status_code == status and said in answer.content.decode()


def test_a_long_poll_on_a_purged_message_says_so_as_any_look_at_it(servers: Servers, project: Project) -> None:
    now = datetime.now(UTC)
    Project.objects.filter(pk=project.pk).update(created_at=now - timedelta(days=300))
    key, purged = make_key(project), ids.floor(now - timedelta(days=200))
    for address in (servers.url, servers.stream_url):
        answer = get(f"{address}/v1/notifications/{purged}?wait=1", key)
        assert (answer.status_code, answer.json()["type"]) == (410, "urn:postroom:purged")
    before = ids.floor(now - timedelta(days=400))  # there was no project then
    assert get(f"{servers.stream_url}/v1/notifications/{before}?wait=1", key).status_code == 404


def test_strangers_get_nothing(servers: Servers, project: Project) -> None:
    message = queue_message(project, make_account(project))
    other = make_key(make_project())
    assert get(f"{servers.stream_url}/v1/notifications/{message}?wait=1", other).status_code == 404
    for key, status in (("pr_no_key", 401), (make_key(project, ["send"]), 403)):
        assert get(f"{servers.stream_url}/v1/stream", key).status_code == status
        assert get(f"{servers.url}/v1/stream", key).status_code == status
    for ticket in ("x", "WzEsImEiXQ:1abc:x"):
        assert requests.get(f"{servers.stream_url}/v1/stream?ticket={ticket}", timeout=10).status_code == 401
    assert requests.post(f"{servers.stream_url}/v1/stream", timeout=10).status_code == 405
    assert get(f"{servers.stream_url}/v1/notifications", other).status_code == 404
    assert get(f"{servers.stream_url}/v1/stream?status=lost", other).status_code == 400
