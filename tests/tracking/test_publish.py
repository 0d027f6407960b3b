"""What a receiver gets, and when: it answers, refuses, redirects, dies, hangs, asks for time, sends too much."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
import time_machine
from django.conf import settings as django_settings
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from config import pgsystem
from providers import sockets
from tests import database
from tests.builders import make_endpoint, make_project
from tests.providers.servers import read_request, tcp_server
from tests.tracking.test_signing_out import verified
from tracking import ids, loops, publisher, signing_out, tasks
from tracking.models import Delivery, DeliveryAttempt, Endpoint, Project
from tracking.services import deliveries, endpoints, publish

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "a-secret-of-the-tests"


@pytest.fixture(autouse=True)
def loopback(settings) -> None:
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def project() -> Project:
    return make_project()


def waiting_for(endpoint: Endpoint, event: str = "notification.sent", **kw: Any) -> Delivery:
    key = ids.new()
    payload = {"id": str(key), "type": event, "notification_id": str(ids.new()), "status": "sent", "data": {}}
    fields = {"next_try_at": datetime.now(UTC), "event": event, "payload": payload, **kw}
    return Delivery.objects.create(id=key, endpoint=endpoint, **fields)


def send(endpoint: Endpoint, limit: int = 10) -> list[publish.Outcome]:
    outcomes = [publish.tell(letter) for letter in publish.claim(endpoint.pk, limit)]
    if outcomes:
        publish.finish(outcomes)
    endpoint.refresh_from_db()
    return outcomes


def answering(httpserver: HTTPServer, *statuses: int, headers: dict[str, str] | None = None) -> list[Request]:
    """The statuses in turn, the last one for ever. What was asked."""
    seen: list[Request] = []

    def answer(request: Request) -> Response:
        seen.append(request)
        return Response("noted", statuses[min(len(seen), len(statuses)) - 1], headers=headers)

    httpserver.expect_request("/in").respond_with_handler(answer)
    return seen


# --- one call


def test_what_a_receiver_gets(project, httpserver):
    seen = answering(httpserver, 204)
    endpoint = make_endpoint(project, httpserver.url_for("/in"), custom_headers={"X-Team": "blue"})
    row = waiting_for(endpoint)
    send(endpoint)
    (request,) = seen
    body = request.get_data()
    assert json.loads(body) == row.payload
    assert request.headers["webhook-id"] == str(row.pk)
    assert request.headers["X-Team"] == "blue"
    assert request.headers["Content-Type"] == "application/json"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5
    lower = {name.lower(): value for name, value in request.headers.items()}
    assert verified(lower, body, signing_out.whsec_of(SECRET))
    row.refresh_from_db()
    assert (row.state, row.attempts, row.lease) == ("delivered", 1, None)
    attempt = DeliveryAttempt.objects.get()
    assert (attempt.status, attempt.error) == (204, "") and attempt.milliseconds < 5000


def test_the_id_stays_and_the_time_is_fresh(project, httpserver):
    seen = answering(httpserver, 500, 200)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    row = waiting_for(endpoint)
    send(endpoint)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=60), tick=True):
        send(endpoint)
    first, second = (request.headers for request in seen)
    assert first["webhook-id"] == second["webhook-id"] == str(row.pk)
    assert 50 < int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) < 70
    assert first["webhook-signature"] != second["webhook-signature"]
    assert seen[0].get_data() == seen[1].get_data()


def test_both_secrets_sign_during_a_rotation(project, httpserver):
    seen = answering(httpserver, 200)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    _, new = endpoints.rotate(endpoint.pk, document={"overlap_hours": 2})
    waiting_for(endpoint)
    send(endpoint)
    waiting_for(endpoint)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=3), tick=True):
        send(endpoint)
    for request, old_is_good in zip(seen, (True, False), strict=True):
        lower = {name.lower(): value for name, value in request.headers.items()}
        assert verified(lower, request.get_data(), new)
        assert verified(lower, request.get_data(), signing_out.whsec_of(SECRET)) is old_is_good


# --- the schedule


def attempts_over_time(endpoint: Endpoint, row: Delivery, days: float = 3) -> list[float]:
    """Lets time go by; the seconds after the start at which it was called."""
    calls = []
    with time_machine.travel(START, tick=False) as clock:
        Delivery.objects.filter(pk=row.pk).update(next_try_at=START)
        while True:
            row.refresh_from_db()
            if row.state != "pending" or row.next_try_at > START + timedelta(days=days):
                return calls
            clock.move_to(row.next_try_at)
            outcomes = send(endpoint)
            assert len(outcomes) == 1
            calls.append((outcomes[0].at - START).total_seconds())


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_the_whole_schedule_of_one_that_fails(project, httpserver, status):
    answering(httpserver, status)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    row = waiting_for(endpoint)
    calls = attempts_over_time(endpoint, row)
    assert len(calls) == 8 and calls[0] == 0
    delays = [after - before for before, after in zip(calls, calls[1:], strict=False)]
    for delay, wanted in zip(delays, (5, 300, 1800, 7200, 18000, 36000, 36000), strict=True):
        assert wanted <= delay <= wanted * 1.2 + 5
    assert row.state == "failed"
    assert list(DeliveryAttempt.objects.values_list("status", flat=True)) == [status] * 8


def test_it_recovers(project, httpserver):
    answering(httpserver, 500, 500, 200)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    row = waiting_for(endpoint)
    assert len(attempts_over_time(endpoint, row)) == 3
    assert row.state == "delivered" and endpoint.failing_since is None


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 422])
def test_what_is_not_tried_again(project, httpserver, status):
    """A redirect is a failure: nobody goes where it leads."""
    seen = answering(httpserver, status, headers={"Location": httpserver.url_for("/elsewhere")})
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    row = waiting_for(endpoint)
    assert attempts_over_time(endpoint, row) == [0]
    assert row.state == "failed" and len(seen) == 1
    assert [request.path for request, _ in httpserver.log] == ["/in"]
    assert endpoint.active


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heeded_by_all_rows_of_the_endpoint(project, httpserver, status):
    seen = answering(httpserver, status, 200, headers={"Retry-After": "900"})
    endpoint = make_endpoint(project, httpserver.url_for("/in"), max_in_flight=1)
    with time_machine.travel(START, tick=False) as clock:
        first, second = waiting_for(endpoint), waiting_for(endpoint)
        send(endpoint, limit=1)
        assert publish.waiting()[0].due_at >= START + timedelta(seconds=900)
        clock.shift(899)
        assert send(endpoint) == []
        clock.shift(10)
        while send(endpoint):
            pass
    assert len(seen) == 3
    assert {first.pk, second.pk} == set(Delivery.objects.filter(state="delivered").values_list("pk", flat=True))


def test_gone_disables_at_once(project, httpserver):
    answering(httpserver, 410)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    row, other = waiting_for(endpoint), waiting_for(endpoint, next_try_at=datetime.now(UTC) + timedelta(minutes=1))
    send(endpoint)
    row.refresh_from_db()
    assert (row.state, endpoint.active, endpoint.disabled_reason) == ("failed", False, "gone")
    assert publish.waiting() == [] and send(endpoint) == []
    other.refresh_from_db()
    assert other.state == "pending"  # it waits, should somebody activate the endpoint again


def test_five_days_of_failures_disable(project, httpserver):
    answering(httpserver, 500)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    with time_machine.travel(START, tick=False) as clock:
        for hours in range(0, 121, 12):
            clock.move_to(START + timedelta(hours=hours))
            assert endpoint.active, hours
            Delivery.objects.all().delete()
            waiting_for(endpoint)
            send(endpoint)
    assert (endpoint.active, endpoint.disabled_reason) == (False, "failing")


def test_one_that_always_asks_for_a_day_is_disabled_too(project, httpserver):
    answering(httpserver, 503, headers={"Retry-After": "86400"})
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    with time_machine.travel(START, tick=False) as clock:
        for _ in range(6):
            assert endpoint.active
            waiting_for(endpoint)
            assert len(send(endpoint, 1)) == 1
            clock.shift(timedelta(hours=24, minutes=1))
    assert (endpoint.active, endpoint.disabled_reason) == (False, "failing")


def test_a_rare_failure_is_no_series(project, httpserver):
    """Two failures a week apart, with nothing to tell in between: nobody knows that it failed all the time."""
    answering(httpserver, 404)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    with time_machine.travel(START, tick=False) as clock:
        for _ in range(3):
            waiting_for(endpoint)
            send(endpoint)
            clock.shift(timedelta(days=7))
    assert endpoint.active


def test_what_was_missed_is_replayed(project, httpserver):
    """A receiver is dead for days, is disabled, comes back: everything reaches it, under the ids of the first time."""
    port = pgsystem.any_free_port()
    endpoint = make_endpoint(project, f"http://127.0.0.1:{port}/in")
    rows = [waiting_for(endpoint) for _ in range(3)]
    Delivery.objects.update(state="failed")
    held = waiting_for(endpoint)
    Endpoint.objects.update(active=False, disabled_reason="failing")
    seen = answering(httpserver, 200)
    endpoint = endpoints.change(endpoint.pk, project_id=project.pk, document={"url": httpserver.url_for("/in")})
    assert send(endpoint) == []
    endpoints.activate(endpoint.pk)
    send(endpoint)
    assert [request.headers["webhook-id"] for request in seen] == [str(held.pk)]
    since = (datetime.now(UTC) - timedelta(days=6)).isoformat()
    endpoint.refresh_from_db()
    assert deliveries.replay_period(endpoint, {"since": since}) == {"replayed": 3, "next_cursor": None}
    send(endpoint)
    assert {request.headers["webhook-id"] for request in seen[1:]} == {str(row.pk) for row in rows}
    assert not Delivery.objects.exclude(state="delivered").exists()


# --- bad receivers


@contextmanager
def raw(serve) -> Iterator[str]:
    with tcp_server(serve) as port:
        yield f"http://127.0.0.1:{port}/in"


def dies(connection: socket.socket) -> None:
    read_request(connection)


def dies_early(connection: socket.socket) -> None:
    connection.recv(10)


def half_an_answer(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def no_http(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"\x00\xff" * 100)


@pytest.mark.parametrize("serve", [dies, dies_early, half_an_answer, no_http])
def test_one_that_dies_is_tried_again(project, serve):
    with raw(serve) as url:
        endpoint = make_endpoint(project, url)
        row = waiting_for(endpoint)
        (outcome,) = send(endpoint)
    row.refresh_from_db()
    assert outcome.status is None and outcome.error
    assert (row.state, row.attempts) == ("pending", 1)
    assert endpoint.failing_since


def test_nobody_listens(project):
    endpoint = make_endpoint(project, f"http://127.0.0.1:{pgsystem.any_free_port()}/in")
    row = waiting_for(endpoint)
    (outcome,) = send(endpoint)
    row.refresh_from_db()
    assert row.state == "pending" and "refused" in outcome.error.lower()


@pytest.mark.parametrize("drip", [False, True])
def test_the_whole_call_has_one_deadline(project, monkeypatch, drip):
    monkeypatch.setattr(publish, "TIMEOUT", 1.0)
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not over.wait(0.2):
            if drip:
                connection.sendall(b".")

    with raw(serve) as url:
        endpoint = make_endpoint(project, url)
        row = waiting_for(endpoint)
        started = time.monotonic()
        (letter,) = publish.claim(endpoint.pk, 1)
        outcome = publish.tell(letter, timeout=publish.TIMEOUT)
        assert time.monotonic() - started < 3
        over.set()
    publish.finish([outcome])
    row.refresh_from_db()
    assert row.state == "pending" and outcome.status is None


def test_a_huge_answer_is_read_in_part(project):
    sent = []

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(2000):
            connection.sendall(b"x" * 65536)
            sent.append(65536)

    with raw(serve) as url:
        endpoint = make_endpoint(project, url)
        row = waiting_for(endpoint)
        (outcome,) = send(endpoint)
    row.refresh_from_db()
    assert row.state == "delivered"
    assert outcome.answer == "x" * 1000
    assert sum(sent) < 20_000_000


def test_an_answer_that_could_not_be_stored(project):
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n\x00\xff\xfe<b>\xed\xa0\x80")

    with raw(serve) as url:
        endpoint = make_endpoint(project, url)
        waiting_for(endpoint)
        send(endpoint)
    assert "\x00" not in DeliveryAttempt.objects.get().answer


# --- addresses at the moment of the call


def test_a_name_that_leads_inside_by_now(project, settings, monkeypatch):
    """It was public when the endpoint was made: what counts is where it leads at the call."""
    settings.WEBHOOK_NETWORKS = ()
    called = []
    with raw(lambda connection: called.append(read_request(connection))) as url:
        port = int(url.split(":")[2].split("/")[0])
        endpoint = make_endpoint(project, f"http://rebound.example:{port}/in")
        inside = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        monkeypatch.setattr(sockets, "resolve", lambda host, port: inside)
        row = waiting_for(endpoint)
        (outcome,) = send(endpoint)
    row.refresh_from_db()
    assert not called and row.state == "failed" and "not allowed" in outcome.error


# --- claims


def test_a_row_is_claimed_once_and_again_after_its_lease(project):
    endpoint = make_endpoint(project)
    row = waiting_for(endpoint)
    (first,) = publish.claim(endpoint.pk, 10)
    assert publish.claim(endpoint.pk, 10) == []
    with time_machine.travel(datetime.now(UTC) + publish.LEASE + timedelta(seconds=1), tick=True):
        (second,) = publish.claim(endpoint.pk, 10)
        good = publish.Outcome(second, datetime.now(UTC), 5, status=200)
        late = publish.Outcome(first, datetime.now(UTC), 70_000, error="no answer")
        publish.finish([good])
        publish.finish([late])  # the first worker lived after all: its call is on record, and changes nothing
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("delivered", 1)
    assert DeliveryAttempt.objects.count() == 2


def test_no_more_at_once_than_the_endpoint_takes(project):
    endpoint = make_endpoint(project, max_in_flight=3)
    for _ in range(10):
        waiting_for(endpoint)
    assert len(publish.claim(endpoint.pk, 10)) == 3
    assert publish.claim(endpoint.pk, 10) == []


def test_one_that_fails_is_called_once_at_a_time(project):
    endpoint = make_endpoint(project)
    for _ in range(10):
        waiting_for(endpoint)
    Endpoint.objects.update(failing_since=datetime.now(UTC))
    assert publish.waiting()[0].width == 1
    assert len(publish.claim(endpoint.pk, 10)) == 1


def test_a_row_that_is_pruned_meanwhile_stops_nobody(project):
    endpoint = make_endpoint(project)
    rows = [waiting_for(endpoint) for _ in range(2)]
    letters = publish.claim(endpoint.pk, 10)
    rows[0].delete()
    publish.finish([publish.Outcome(letter, datetime.now(UTC), 5, status=200) for letter in letters])
    assert Delivery.objects.get().state == "delivered"
    assert DeliveryAttempt.objects.get().delivery_id == rows[1].pk


def test_a_broken_seal_holds_the_endpoint_alone(project, caplog):
    endpoint = make_endpoint(project)
    waiting_for(endpoint)
    Endpoint.objects.update(sealed="rubbish")
    assert publish.claim(endpoint.pk, 10) == [] and "cannot be used" in caplog.text
    assert publish.waiting()[0].due_at > datetime.now(UTC)
    endpoints.rotate(endpoint.pk, document={"secret": "another"})
    Endpoint.objects.update(hold_until=None)
    assert publish.claim(endpoint.pk, 10)[0].secrets == ("another",)


def test_what_cannot_be_told_any_more_stops_nobody(project, httpserver):
    """An erasure may leave too little of a payload for the endpoint's form."""
    seen = answering(httpserver, 200)
    endpoint = make_endpoint(project, httpserver.url_for("/in"), style="smsbat")
    rows = [waiting_for(endpoint, payload=payload) for payload in (told("sent"), {"type": "notification.(erased)"})]
    rows.append(waiting_for(endpoint, payload=told("delivered")))
    assert all(outcome.good for outcome in send(endpoint))
    assert sorted(json.loads(request.data)["deliverystatus"] for request in seen) == ["delivered", "processing"]
    assert [Delivery.objects.get(pk=row.pk).state for row in rows] == ["delivered", "failed", "delivered"]
    assert DeliveryAttempt.objects.get(delivery=rows[1]).error == publish.SPOILT
    assert endpoint.failing_since is None and publish.claim(endpoint.pk, 10) == []


def told(status: str) -> dict[str, Any]:
    about = {"notification_id": str(ids.new()), "status": status, "data": {"reason": None}}
    return {"type": f"notification.{status}", "timestamp": START.isoformat(), **about}


# --- the pool


def test_dead_endpoints_hold_up_nobody(project, httpserver):
    """Forty that never answer, with ten rows each, and one that does: it gets all of its rows at once."""
    over = threading.Event()
    seen = answering(httpserver, 200)

    def hangs(connection: socket.socket) -> None:
        read_request(connection)
        over.wait(60)

    with ExitStack() as stack:
        stack.callback(over.set)
        urls = [stack.enter_context(raw(hangs)) for _ in range(40)]
        dead = [make_endpoint(project if n < 40 else make_project(), url) for n, url in enumerate(urls)]
        for endpoint in dead:
            for _ in range(10):
                waiting_for(endpoint)
        sender = publisher.Publisher()
        stack.callback(sender.close)
        sender.step()
        assert sender.in_flight >= 40
        good = make_endpoint(make_project(), httpserver.url_for("/in"))
        for _ in range(20):
            waiting_for(good)
        started = time.monotonic()
        while len(seen) < 20 and time.monotonic() - started < 10:
            sender.step()
        took = time.monotonic() - started
        over.set()
        sender.drain(20)
    assert len(seen) == 20
    assert took < 5, took


def test_those_that_fail_have_half_of_the_pool(project, monkeypatch):
    monkeypatch.setattr(publisher, "THREADS", 8)
    monkeypatch.setattr(publisher, "FOR_FAILING", 4)
    over = threading.Event()

    def hangs(connection: socket.socket) -> None:
        read_request(connection)
        over.wait(60)

    with raw(hangs) as url:
        for _ in range(8):
            waiting_for(make_endpoint(project, url))
        Endpoint.objects.update(failing_since=datetime.now(UTC), last_attempt_at=datetime.now(UTC))
        sender = publisher.Publisher()
        for _ in range(3):
            sender.step()
        assert sender.in_flight == 4
        over.set()
        sender.drain(20)
        sender.close()


def test_the_loop_publishes_and_hands_on(project, httpserver):
    seen = answering(httpserver, 200)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    rows = [waiting_for(endpoint) for _ in range(30)]
    handed = []
    assert loops.run_publish(0, seconds=1.0, others=lambda: None, handing_on=lambda: handed.append(1))
    assert handed == [1]
    assert {request.headers["webhook-id"] for request in seen} == {str(row.pk) for row in rows}
    assert len(seen) == 30 and (loops.PUBLISH, 0) in loops.wanted()


# --- kill -9


LOOP = """
import sys
from ipaddress import ip_network
import django
django.setup()
from django.conf import settings
settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
from tracking import loops
loops.run_publish(0, seconds=60, others=lambda: None, handing_on=lambda: None)
"""


@pytest.mark.django_db(transaction=True)
def test_kill_9_sends_again_under_the_same_id():
    got: list[bytes] = []
    called, over = threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        got.append(read_request(connection))
        if len(got) == 1:
            called.set()
            over.wait(60)
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with raw(serve) as url:
        endpoint = make_endpoint(make_project(), url)
        row = waiting_for(endpoint)
        process = subprocess.Popen([sys.executable, "-c", LOOP], env=_environment())
        try:
            assert called.wait(60)
            os.kill(process.pid, signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
            over.set()
        row.refresh_from_db()
        assert row.state == "pending" and row.lease
        Delivery.objects.update(next_try_at=datetime.now(UTC))  # its lease is over
        send(endpoint)
    row.refresh_from_db()
    named = [line for request in got for line in request.split(b"\r\n") if line.startswith(b"webhook-id")]
    assert len(named) == 2 and named[0] == named[1] and str(row.pk).encode() in named[0]
    assert row.state == "delivered"


def _environment() -> dict[str, str]:
    place = str(django_settings.BASE_DIR)
    return {
        **os.environ,
        "DATABASE_URL": database.url(),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONPATH": place,
    }


# --- prune


def test_prune_forgets_what_is_old_and_what_was_deleted(project, httpserver):
    answering(httpserver, 200)
    endpoint = make_endpoint(project, httpserver.url_for("/in"))
    kept = waiting_for(endpoint)
    send(endpoint)
    old = ids.floor(datetime.now(UTC) - timedelta(days=31))
    Delivery.objects.create(id=old, endpoint=endpoint, event="x", payload={}, next_try_at=datetime.now(UTC))
    tasks.prune()
    assert Delivery.objects.get().pk == kept.pk
    endpoints.delete(endpoint.pk, project_id=project.pk)
    deliveries.prune(datetime.now(UTC) + timedelta(minutes=10))
    assert not Delivery.objects.exists() and not DeliveryAttempt.objects.exists() and not Endpoint.objects.exists()
