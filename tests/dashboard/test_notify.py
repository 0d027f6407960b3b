"""Notifications against real servers: a webhook's receiver over HTTP, a mail server over SMTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import time_machine
from aiosmtpd.controller import Controller
from django.core import mail
from django_q.models import OrmQ
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from config import pgsystem
from dashboard import alerts, channels, incidents, notify, tasks
from dashboard.models import AlertChannel, AlertNotification, Delivery
from providers import signing
from providers.base import VerificationFailed
from tests import database
from tests.dashboard.alerting import SECRET, count, incident, make_channel, make_rule
from tests.providers.servers import tcp_server

pytestmark = pytest.mark.django_db
HOOK = "/hook"


def open_incident() -> None:
    make_rule()
    count(sent=100, bounced=50)
    alerts.evaluate()


def local(httpserver: HTTPServer, kind: str = "webhook", **kw: Any) -> AlertChannel:
    return make_channel(kind, httpserver.url_for(HOOK), **{"allow_private": True, **kw})


def deliver() -> AlertNotification:
    notify.deliver(seconds=5)
    return AlertNotification.objects.latest("pk")


# --- the signed webhook


def test_a_webhook_is_signed_as_standard_webhooks_says(httpserver: HTTPServer):
    httpserver.expect_request(HOOK, method="POST").respond_with_data("ok")
    local(httpserver)
    open_incident()
    assert not httpserver.log  # not in the transaction that evaluates
    assert OrmQ.objects.count() == 1
    told = deliver()
    assert (told.state, told.attempts, told.next_at, told.error) == ("sent", 1, None, "")
    ((request, _),) = httpserver.log
    given = {name.lower(): value for name, value in request.headers.items()}
    signing.verify([SECRET], given=given, body=request.data, now=datetime.now(UTC))
    with pytest.raises(VerificationFailed):
        signing.verify([SECRET], given=given, body=request.data + b" ", now=datetime.now(UTC))
    assert given["webhook-id"] == f"msg_{told.pk}"
    said = orjson.loads(request.data)
    assert said["type"] == "incident.opened"
    assert said["data"]["value"] == 50 and said["data"]["url"].endswith(
        f"/admin/dashboard/incident/{incident().pk}/change/"
    )


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_a_refusal_is_tried_again_with_back_off_and_fails_in_the_end(httpserver: HTTPServer, status):
    httpserver.expect_request(HOOK).respond_with_data("<b>busy\0</b>", status=status)
    local(httpserver)
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        open_incident()
        waits = []
        for attempt in range(1, 6):
            told = deliver()
            assert told.attempts == attempt and told.error == f"HTTP {status}: <b>busy</b>"
            if told.next_at:
                waits.append(round((told.next_at - datetime.now(UTC)).total_seconds()))
                clock.shift(waits[-1] - 1)
                assert deliver().attempts == attempt  # not before its time
                clock.shift(1)
        assert waits == [30, 300, 1_800, 7_200] and told.state == "failed"
        clock.shift(timedelta(days=1))
        deliver()
    assert len(httpserver.log) == 5
    assert len({request.headers["webhook-id"] for request, _ in httpserver.log}) == 1
    assert len({request.data for request, _ in httpserver.log}) == 1


def test_retry_after_is_kept(httpserver: HTTPServer):
    httpserver.expect_request(HOOK).respond_with_data("", status=429, headers={"Retry-After": "900"})
    local(httpserver)
    open_incident()
    told = deliver()
    assert 890 < (told.next_at - datetime.now(UTC)).total_seconds() <= 900


def test_gone_switches_the_channel_off(httpserver: HTTPServer):
    httpserver.expect_request(HOOK).respond_with_data("", status=410)
    channel = local(httpserver)
    open_incident()
    assert deliver().state == Delivery.FAILED
    channel.refresh_from_db()
    assert not channel.enabled and "410" in channel.fault
    assert len(httpserver.log) == 1


def test_redirects_are_not_followed(httpserver: HTTPServer):
    httpserver.expect_request(HOOK).respond_with_data("", status=302, headers={"Location": httpserver.url_for("/else")})
    httpserver.expect_request("/else").respond_with_data("ok")
    local(httpserver)
    open_incident()
    told = deliver()
    assert told.state == "waiting" and "redirects are not followed" in told.error
    assert [request.path for request, _ in httpserver.log] == [HOOK]


def test_private_addresses_are_refused_unless_the_channel_allows_them(httpserver: HTTPServer):
    httpserver.expect_request(HOOK).respond_with_data("ok")
    local(httpserver, allow_private=False)
    open_incident()
    told = deliver()
    assert told.state == "failed" and "not allowed" in told.error and not httpserver.log


def test_a_receiver_that_hangs_is_left_in_time(monkeypatch):
    monkeypatch.setattr(channels, "TIMEOUT", 0.3)
    with tcp_server(lambda connection: time.sleep(1)) as port:
        make_channel(url=f"http://127.0.0.1:{port}/", allow_private=True)
        open_incident()
        started = time.monotonic()
        told = deliver()
    assert told.state == "waiting" and "no answer" in told.error
    assert time.monotonic() - started < 3


def test_a_receiver_that_is_away(monkeypatch):
    make_channel(url=f"http://127.0.0.1:{pgsystem.any_free_port()}/", allow_private=True)
    open_incident()
    assert "could not connect" in deliver().error


def test_a_channel_that_does_not_work_keeps_no_other_waiting(httpserver: HTTPServer):
    httpserver.expect_request(HOOK).respond_with_data("ok")
    broken = make_channel(url=f"http://127.0.0.1:{pgsystem.any_free_port()}/", allow_private=True)
    local(httpserver)
    for _ in range(3):
        make_rule()
    open_incident()
    notify.deliver(seconds=5)
    assert len(httpserver.log) == 4
    assert sum(each.attempts for each in AlertNotification.objects.filter(channel=broken)) == 1


# --- Slack


def test_slack_gets_text_that_can_do_nothing(httpserver: HTTPServer):
    httpserver.expect_request(HOOK).respond_with_data("ok")
    local(httpserver, "slack")
    make_rule(name="<!channel> & <http://evil.example|click>")
    count(sent=100, bounced=50)
    alerts.evaluate()
    assert deliver().state == "sent"
    ((request, _),) = httpserver.log
    said = orjson.loads(request.data)
    assert list(said) == ["text"]
    assert "&lt;!channel&gt; &amp; &lt;http://evil.example|click&gt;" in said["text"]
    assert f"/admin/dashboard/incident/{incident().pk}/change/>" in said["text"]


# --- e-mail


class Mailbox:
    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.answer = "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.answer.startswith("250"):
            self.taken.append(envelope)
        return self.answer


@pytest.fixture
def mailbox(settings):
    found = Mailbox()
    controller = Controller(found, hostname="127.0.0.1", port=pgsystem.any_free_port())
    controller.start()
    settings.EMAIL_READY = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", controller.port, 2
    yield found
    controller.stop()


def test_mail_goes_out_over_smtp_and_is_tried_again(mailbox):
    make_channel("email", recipients="ada@example.org, alan@example.org")
    mailbox.answer = "451 later"
    open_incident()
    told = deliver()
    assert told.state == "waiting" and "451" in told.error
    mailbox.answer = "250 OK"
    notify.AlertNotification.objects.update(next_at=datetime.now(UTC))
    assert deliver().state == "sent"
    (envelope,) = mailbox.taken
    assert envelope.rcpt_tos == ["ada@example.org", "alan@example.org"]
    text = envelope.content.decode()
    assert f"Message-ID: <{told.pk}@postroom>" in text and "opened: 50 % (threshold 10 %)" in text.replace("=\r\n", "")


def test_without_a_mail_server_it_says_so(settings):
    settings.EMAIL_READY = False
    make_channel("email", recipients="ada@example.org")
    open_incident()
    told = deliver()
    assert told.state == "failed" and "EMAIL_URL" in told.error and not mail.outbox


def test_a_mail_server_that_is_away(settings):
    settings.EMAIL_READY = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", pgsystem.any_free_port()
    make_channel("email", recipients="ada@example.org")
    open_incident()
    told = deliver()
    assert told.state == "waiting" and "refused" in told.error


# --- what is told, and how often


def test_a_test_and_a_resend(httpserver: HTTPServer):
    httpserver.expect_request(HOOK).respond_with_data("ok")
    channel = local(httpserver)
    made = notify.test(channel)
    assert not notify.resend(made)  # it is under way
    assert deliver().state == "sent"
    assert orjson.loads(httpserver.log[0][0].data)["type"] == "test"
    open_incident()
    told = deliver()
    assert notify.resend(told) and deliver().state == "sent"
    assert httpserver.log[1][0].headers["webhook-id"] == httpserver.log[2][0].headers["webhook-id"]


def test_a_channel_that_was_switched_off_or_deleted_gets_nothing_more(httpserver: HTTPServer):
    off, gone = local(httpserver), local(httpserver)
    open_incident()
    AlertChannel.objects.filter(pk=off.pk).update(enabled=False)
    gone.delete()
    notify.deliver(seconds=5)
    assert set(AlertNotification.objects.values_list("state", flat=True)) == {"failed"} and not httpserver.log
    assert set(AlertNotification.objects.values_list("channel_name", flat=True)) == {off.name, gone.name}


def test_the_jobs_hand_on(httpserver: HTTPServer, monkeypatch):
    httpserver.expect_request(HOOK).respond_with_data("ok")
    local(httpserver)
    make_rule()
    count(sent=100, bounced=50)
    tasks.alert_tick()
    assert OrmQ.objects.count() >= 1
    tasks.alert_deliver()
    assert AlertNotification.objects.get().state == "sent"
    OrmQ.objects.all().delete()
    tasks.alert_tick()
    assert not OrmQ.objects.exists()
    tasks.alert_prune()


_SEND_ONE = """
import django; django.setup()
from dashboard import notify
notify.deliver(seconds=5)
"""


@pytest.mark.django_db(transaction=True)
def test_killed_between_sending_and_recording_it_is_told_again_under_the_same_id(httpserver: HTTPServer):
    """At least once, same webhook-id: the receiver takes the request and kills the sender before it gets an answer."""
    victims: list[subprocess.Popen[bytes]] = []

    def kill(request: Request) -> Response:
        victims[0].send_signal(signal.SIGKILL)
        victims[0].wait(10)
        return Response("ok")

    httpserver.expect_ordered_request(HOOK).respond_with_handler(kill)
    httpserver.expect_ordered_request(HOOK).respond_with_data("ok")
    local(httpserver)
    open_incident()
    env = {**os.environ, "DATABASE_URL": database.url(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    victims.append(subprocess.Popen([sys.executable, "-c", _SEND_ONE], env=env))
    assert victims[0].wait(30) == -signal.SIGKILL
    told = AlertNotification.objects.get()
    assert (told.state, told.attempts) == ("waiting", 1)
    assert deliver().attempts == 1  # it may still be under way
    AlertNotification.objects.update(next_at=datetime.now(UTC))
    assert deliver().state == "sent"
    assert len({request.headers["webhook-id"] for request, _ in httpserver.log}) == 1
    assert deliver() and len(httpserver.log) == 2


def test_an_attempt_that_was_killed_last_ends_as_failed():
    make_channel()
    open_incident()
    AlertNotification.objects.update(attempts=notify.ATTEMPTS)
    told = deliver()
    assert told.state == "failed" and "killed" in told.error


def test_the_same_milestone_is_told_once():
    make_channel()
    open_incident()
    notify.tell(incident(), incident().events.get())
    assert AlertNotification.objects.count() == 1
    incidents.acknowledge(incident().pk, who="ada")
    assert AlertNotification.objects.count() == 2
