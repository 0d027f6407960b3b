"""The logs: what they tell, and that no recipient, content or token ever gets into them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests
from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from config import launcher, logs, pgsystem, urls
from providers.base import Classification, FailureClass, HookRequest, ProviderError
from providers.sandbox.adapter import Sandbox
from tests import database
from tests.builders import make_account, make_key, make_message, make_project
from tests.dashboard.people import superuser
from tracking import accounts, circuit, jobs
from tracking.models import Content, Inbound, Message
from tracking.services import dispatch, inbound, outcomes, receive
from tracking.services.handover import hand_over

MARK = "marked-zq"
ADDRESS = f"{MARK}.person@example.org"
NUMBER = "+4915112345678"


@pytest.fixture(params=["text", "json"])
def lines(request) -> Iterator[io.StringIO]:
    """All that the root logger writes, down to DEBUG, as the setting LOG_FORMAT has it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(request.param))
    root = logging.getLogger()
    before, loud = root.level, logging.getLogger("django.request").level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("django.request").setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)
    logging.getLogger("django.request").setLevel(loud)


def breaks(request: HttpRequest, **found: str) -> HttpResponse:
    """An error whose words, path and traceback's values all name the recipient."""
    whose = f"{ADDRESS} {MARK}-body"
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("SELECT %s::uuid", [whose])
    raise AssertionError


class Urls:
    urlpatterns = [path("v1/broken/<str:recipient>", breaks), *urls.urlpatterns]


def refused(text: str) -> ProviderError:
    return ProviderError(text, classification=Classification(failure=FailureClass.TIMEOUT), code="421")


# --- the whole way


@pytest.mark.django_db(transaction=True)
def test_no_mark_gets_into_the_logs(lines, settings, monkeypatch):
    """A send, a bounce, look-ups, and everything that can fail on the way."""
    settings.ROOT_URLCONF = Urls
    project = make_project()
    account = make_account(project, code="mail")
    key = make_key(project)
    api = Client(headers={"Authorization": f"Bearer {key}"}, raise_request_exception=False)

    body = {"channel": "email", "recipient": ADDRESS, "subject": f"{MARK} subject", "content": {"text": f"{MARK} body"}}
    sent = api.post("/v1/notifications", body, content_type="application/json")
    assert sent.status_code == 202
    (handover,) = dispatch.start(account.pk, 1)
    outcomes.finish([hand_over(handover)])

    # the provider breaks, and refuses with words that name the recipient
    make_message(project, recipient=ADDRESS)
    (handover,) = dispatch.start(account.pk, 1)

    def explode(self, outbound):
        raise ValueError(f"no such user {outbound.recipient}: {MARK} {outbound.text}")

    monkeypatch.setattr(Sandbox, "send", explode)
    outcomes.finish([hand_over(handover)])
    circuit.learn([(account.pk, refused(f"421 {ADDRESS} {MARK}"))] * circuit.THRESHOLDS[FailureClass.TIMEOUT])

    # a bounce that names it, read well, and one at which the adapter breaks
    bound = accounts.by_id(account.pk)
    bounce = json.dumps({"recipient": ADDRESS, "text": f"{MARK} 550 5.1.1 <{ADDRESS}> unknown"}).encode()
    hook = _hook(account.hook_url, bounce)
    inbound.store(account_id=account.pk, hook=hook)
    receive.drain()
    monkeypatch.setattr(Sandbox, "parse", lambda self, hook: 1 / 0 if not hook.body else _raise(hook.body.decode()))
    inbound.store(account_id=account.pk, hook=hook)
    receive.drain()
    monkeypatch.setattr(Sandbox, "verify", lambda self, hook: _raise(hook.body.decode()))
    assert Client().post(f"/hooks/{account.hook_token}", bounce, content_type="application/json").status_code == 401
    assert bound is not None and Inbound.objects.filter(state="error").exists()

    # look-ups by recipient, good and bad; errors of the caller and of ours
    for query in (f"recipient={ADDRESS}", f"recipient=%00{MARK}", f"{MARK}=1"):
        api.get(f"/v1/notifications?{query}")
    api.get(f"/v1/notifications/{ADDRESS}")
    api.get(f"/v1/{MARK}/{ADDRESS}")
    api.post("/v1/notifications", {**body, "channel": MARK}, content_type="application/json")
    api.post("/v1/notifications", f"{{{MARK} {ADDRESS}", content_type="application/json")
    assert api.get(f"/v1/broken/{ADDRESS}?to={MARK}").status_code == 500
    staff = superuser()
    staff.get("/admin/tracking/message/", {"q": ADDRESS})
    staff.get(f"/admin/tracking/message/{Message.objects.first().pk}/change/")
    with pytest.raises(jobs.TaskFailed):
        jobs.run(f"{__name__}.fails")

    written = lines.getvalue()
    assert "broke" in written and "POST /v1/notifications 202" in written and "circuit of account mail" in written
    assert Content.objects.filter(body__text=f"{MARK} body").exists()  # the marks were there to be found
    for secret in (MARK, ADDRESS, "person@", account.hook_token, key, key.split("_", 2)[2]):
        assert secret not in written, [line for line in written.splitlines() if secret in line][:3]


def fails() -> None:
    raise ValueError(f"{MARK} {ADDRESS}")


def _raise(text: str):
    raise ValueError(text)


def _hook(url: str, body: bytes):
    return HookRequest("POST", url, {"content-type": "application/json"}, body, datetime.now(UTC))


# --- what lines look like


@pytest.mark.django_db
def test_all_lines_of_a_request_carry_its_id(lines, settings):
    settings.ROOT_URLCONF = Urls
    client = Client(raise_request_exception=False)
    answer = client.get("/v1/broken/x", headers={"X-Request-ID": "from-the-proxy-1"})
    assert answer["X-Request-ID"] == "from-the-proxy-1"
    mine = [line for line in lines.getvalue().splitlines() if "from-the-proxy-1" in line]
    assert len(mine) == 2  # the error, and the request
    assert "/v1/broken/<str:recipient>" in mine[0] and "DataError (SQLSTATE 22P02)" in lines.getvalue()


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "with space 1", "new\nline-1234", "<script>12345", MARK * 20])
def test_an_id_that_is_none_is_replaced(given):
    answer = Client(headers={"X-Request-ID": given}).get("/healthz")
    assert re.fullmatch(r"[0-9a-f]{32}", answer["X-Request-ID"])


def _record(text: str, *args: object, **kw) -> logging.LogRecord:
    return logging.LogRecord("tracking.test", logging.ERROR, __file__, 1, text, args, kw.get("exc_info"))


def test_json_lines_can_be_read_by_machines():
    line = json.loads(logs.formatter("json").format(_record("message %s\n%s", 1, "ü")))
    assert (line["event"], line["level"], line["logger"]) == ("message 1\nü", "ERROR", "tracking.test")
    assert datetime.fromisoformat(line["at"]).tzinfo is not None


def test_nobody_can_forge_a_line():
    line = logs.formatter("text").format(_record("name %s", "x\n2026-01-01 ERROR all is lost"))
    assert len(line.splitlines()) == 1


def test_of_an_error_its_kind_and_its_place_are_told():
    try:
        try:
            raise DataError(f"value {ADDRESS}")
        except DataError as inner:
            raise RuntimeError(f"while {MARK}") from inner
    except RuntimeError as error:
        line = logs.formatter("text").format(_record("it broke", exc_info=(type(error), error, error.__traceback__)))
    assert "DataError" in line and line.endswith("RuntimeError") and "test_logs.py:" in line
    assert MARK not in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"to {ADDRESS}, again", "to [address], again"),
        (f"<{ADDRESS}>", "<[address]>"),
        (f"call {NUMBER}", "call [number]"),
        ("POST /hooks/abcDEF_1-2 from x", "POST /hooks/[token] from x"),
        ("key pr_abc234_" + "s" * 43, "key pr_abc234_…"),
        ("circuit of sandbox-mail, 12 messages at 10:00+00:00", "circuit of sandbox-mail, 12 messages at 10:00+00:00"),
    ],
)
def test_what_looks_like_a_recipient_or_a_token_goes(text, shown):
    assert logs.scrub(text) == shown


def test_an_unknown_format_is_refused():
    with pytest.raises(ImproperlyConfigured, match="LOG_FORMAT is 'xml'"):
        logs.formatter("xml")


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_the_web_server_itself_tells_no_paths(tmp_path):
    """granian as the launcher starts it: an access log of its own would hold queries and the tokens of hooks."""
    port = pgsystem.any_free_port()
    plan = launcher.make_plan("run", {**os.environ, "PORT": str(port), "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json"})
    (web,) = (program for program in launcher.programs(plan, database.url()) if program.name == "web")
    web.log, web.grace = tmp_path / "web.log", 5.0
    web.start()
    try:
        base = f"http://127.0.0.1:{port}"
        _until_up(base)
        for asked in (f"/v1/notifications?recipient={ADDRESS}", f"/hooks/{MARK}-token", f"/{MARK}/{ADDRESS}?{MARK}"):
            requests.get(base + asked, headers={"Authorization": f"Bearer {MARK}"}, timeout=10)
    finally:
        web.stop()
    written = web.log.read_text()
    assert "GET /v1/notifications 401" in written and "GET /hooks/[token] 404" in written
    assert MARK not in written, [line for line in written.splitlines() if MARK in line]


def _until_up(base: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            requests.get(f"{base}/healthz", timeout=2)
            return
        except requests.ConnectionError:
            assert time.monotonic() < until
            time.sleep(0.2)
