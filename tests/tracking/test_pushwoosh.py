"""Pushwoosh's API: messages, logs and devices; and everything that must be refused."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.test import Client
from django_q.models import OrmQ

from tests.builders import make_account, make_device, make_key, make_message, make_project, open_to_pushwoosh
from tests.tracking.aged import make_old
from tracking import ids, push_log, tasks
from tracking.models import Content, Device, Message, PushLog, PushLogPart, QueueRow
from tracking.push_log import Happened, Pushed
from tracking.services import push_log as logs
from tracking.services import route
from tracking.services.record import Record, Source
from tracking.statuses import Decision, Fact, FactKind

pytestmark = pytest.mark.django_db
APPLICATION = "C90C0-0E786"
TOKENS = [f"device-token-{n}" for n in range(3)]
FORBIDDEN = {
    "status_code": 403,
    "status_message": "Token restrictions forbid this operation",
    "response": None,
}


@pytest.fixture
def project():
    found = make_project()
    make_account(found, channel="push")
    open_to_pushwoosh(found, APPLICATION)
    return found


@pytest.fixture
def key(project) -> str:
    return make_key(project)


def call(method: str, document: Any, status: int = 200) -> Any:
    answer = Client().post(f"/json/1.3/{method}", json.dumps(document), content_type="application/json")
    assert answer.status_code == status, answer.content
    found = answer.json()
    assert list(found) == ["status_code", "status_message", "response"]
    return found


def push(key: str, *, application: str = APPLICATION, **kw: Any) -> Any:
    notification = {"send_date": "now", "content": "text", "devices": TOKENS[:1], **kw}
    request = {"application": application, "auth": key, "notifications": [notification]}
    return call("createMessage", {"request": request})


def sent(key: str, **kw: Any) -> Any:
    found = push(key, **kw)
    assert found["status_code"] == 200, found
    return found["response"]


def refused(found: Any, word: str, code: int = 210) -> None:
    assert (found["status_code"], found["response"]) == (code, None)
    assert word in found["status_message"]
    assert not Message.objects.exists()


# --- createMessage


def test_one_message_and_one_code_for_each_device(key, project):
    found = sent(key, devices=TOKENS, data={"order": 7}, link="https://example.com/7", title="News", ios_badges=3)
    assert found["Messages"] == ["CODE_NOT_AVAILABLE"]
    messages = list(Message.objects.order_by("pk"))
    assert [message.external_id for message in messages] == found["TrackingCodes"]
    assert [(message.recipient, message.channel) for message in messages] == [(token, "push") for token in TOKENS]
    assert QueueRow.objects.count() == 3
    body = Content.objects.get(pk=messages[0].pk).body
    assert body == {
        "subject": "News",
        "text": "text",
        "data": {"order": 7, "link": "https://example.com/7"},
        "metadata": {"pushwoosh": {"target": TOKENS[0], "hwid": "", "ios_badges": 3}},
    }


def test_a_hwid_means_its_device_and_its_language_is_spoken(key, project):
    device = make_device(project, hwid="hw-1", language="de-AT")
    content = {"en": "Hello", "de": "Hallo"}
    (code,) = sent(key, devices=["hw-1", device.token, "hw-1"], content=content)["TrackingCodes"]
    message = Message.objects.get(external_id=code)
    assert message.recipient == device.token
    assert Content.objects.get(pk=message.pk).body["text"] == "Hallo"
    sent(key, devices=TOKENS[:1], content=content)
    assert Content.objects.latest("pk").body["text"] == "Hello"


def test_a_language_without_a_text_stops_them_all(key, project):
    make_device(project, hwid="hw-1", language="de")
    content = {"en": "Hello", "de": ""}
    refused(push(key, devices=[TOKENS[0], "hw-1"], content=content), "notifications/0/content")
    assert len(sent(key, devices=[TOKENS[0], "hw-1"], content=content, data={"silent": True})["TrackingCodes"]) == 2


def test_unknown_devices_are_named_and_stop_no_others(key, project):
    gone = make_device(project, valid=False)
    found = sent(key, devices=[gone.token, TOKENS[0], "short"])
    assert len(found["TrackingCodes"]) == 1
    assert found["UnknownDevices"] == {"CODE_NOT_AVAILABLE": [gone.token, "short"]}
    project.pushwoosh.registered_only = True
    project.pushwoosh.save()
    found = sent(key, devices=TOKENS)
    assert (found["TrackingCodes"], found["UnknownDevices"]) == ([], {"CODE_NOT_AVAILABLE": TOKENS})


def test_users_are_sent_to_on_all_their_valid_devices(key, project):
    mine = [make_device(project, user_id="ada") for _ in range(2)]
    make_device(project, user_id="ada", valid=False)
    make_device(make_project(), user_id="ada")
    found = sent(key, devices=None, users=["ada", "nobody"])
    assert found["UnknownUsers"] == ["nobody"]
    assert [Message.objects.get(external_id=code).recipient for code in found["TrackingCodes"]] == [
        device.token for device in mine
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, timedelta(hours=10)),
        ({"timezone": None}, timedelta(hours=10)),
        ({"timezone": "Europe/Berlin"}, None),
    ],
)
def test_a_send_date_is_in_utc_or_in_the_zone_that_is_named(key, given, expected):
    moment = (datetime.now(UTC) + timedelta(hours=10)).replace(second=0, microsecond=0)
    sent(key, send_date=moment.strftime("%Y-%m-%d %H:%M"), **given)
    at = Message.objects.get().scheduled_at
    assert at == moment if expected else timedelta(hours=1) <= moment - at <= timedelta(hours=2)


def test_a_transaction_id_sends_once(key):
    first = sent(key, transactionId="t-1", devices=TOKENS)
    assert sent(key, transactionId="t-1", devices=TOKENS) == first
    assert Message.objects.count() == 3
    other = push(key, transactionId="t-1", content="another text")
    assert other["status_code"] == 210 and "transactionId" in other["status_message"]
    sent(key, transactionId="t-2")
    assert Message.objects.count() == 4


def test_several_notifications_are_taken_all_or_none(key):
    good = {"content": "a", "devices": TOKENS[:2]}
    late = {"content": "b", "devices": TOKENS[2:], "send_date": "2099-01-01 00:00"}
    request = {"application": APPLICATION, "auth": key, "notifications": [good, late]}
    refused(call("createMessage", {"request": request}), "notifications/1/send_date")
    request["notifications"] = [good, {**late, "send_date": "now"}]
    found = call("createMessage", {"request": request})["response"]
    assert len(found["Messages"]) == 2 and len(found["TrackingCodes"]) == 3


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"devices": None}, "notifications/0/devices"),
        ({"users": ["ada"]}, "notifications/0/devices"),
        ({"devices": ["x" * 501]}, "notifications/0/devices/0"),
        ({"devices": [f"token-{n:06}" for n in range(1_001)]}, "notifications/0/devices"),
        ({"devices": [7]}, "notifications/0/devices/0"),
        ({"devices": "all"}, "notifications/0/devices"),
        ({"content": ""}, "notifications/0/content"),
        ({"content": {}}, "notifications/0/content"),
        ({"content": {"en": 7}}, "notifications/0/content"),
        ({"content": {"en": "Hello", "de": ""}}, "notifications/0/content"),
        ({"content": "a\0b"}, "notifications/0/content"),
        ({"content": "x" * 17_000}, "notifications/0/content"),
        ({"ios_root_params": {"x": "y" * 17_000}}, "notifications/0/content"),
        ({"ios_root_params": {"x": "\0"}}, "notifications/0"),
        ({"ios_root_params": {"x": 10**30}}, "notifications/0"),
        ({"send_date": "tomorrow"}, "notifications/0/send_date"),
        ({"send_date": "2026-02-30 10:00"}, "notifications/0/send_date"),
        ({"send_date": "2099-02-03 10:00"}, "notifications/0/send_date"),
        ({"send_date": "0001-01-01 00:00", "timezone": "Asia/Tokyo"}, "notifications/0/send_date"),
        ({"timezone": "../../etc/passwd"}, "notifications/0/timezone"),
        ({"timezone": "Europe"}, "notifications/0/timezone"),
        ({"timezone": "No/Where"}, "notifications/0/timezone"),
        ({"data": "{"}, "notifications/0/data"),
        ({"data": [1]}, "notifications/0/data"),
        ({"link": "a\nb"}, "notifications/0/link"),
        ({"transactionId": ""}, "notifications/0/transactionId"),
        ({"conditions": [["tag", "EQ", "x"]]}, "notifications/0/filter"),
    ],
)
def test_bad_input_is_named_and_nothing_is_stored(key, wrong, word):
    refused(push(key, **wrong), word)


def test_the_envelope(key, project):
    ok = {"application": APPLICATION, "auth": key, "notifications": [{"content": "x", "devices": TOKENS}]}
    for document, word in (
        ([], "request"),
        ({}, "request"),
        ({"request": []}, "request"),
        ({"request": {}}, "auth"),
        ({"request": ok | {"notifications": []}}, "notifications"),
        ({"request": ok | {"notifications": [{}] * 101}}, "notifications"),
        ({"request": ok | {"application": None}}, "application"),
        ({"request": ok | {"applications_group": "G"}}, "application"),
    ):
        refused(call("createMessage", document), word)
    for body, status in ((b"{", 400), (b"", 400), (b"\xff", 400), (b'{"request":' + b"[" * 300, 400)):
        answer = Client().post("/json/1.3/createMessage", body, content_type="text/plain")
        assert (answer.status_code, answer.json()["status_code"]) == (status, status)
    assert Client().get("/json/1.3/createMessage").json()["status_code"] == 405
    assert call("getTagStats", {"request": {}}, 404)["status_code"] == 404


def test_a_project_without_an_account_says_so(key, project):
    project.accounts.clear()
    route.forget()
    refused(push(key), "no enabled account for push")


def test_whoever_may_not_is_told_no_more(key, project):
    other = make_project()
    open_to_pushwoosh(other, "OTHER-1")
    off = make_project()
    for found in (
        push("pr_nobody_x"),
        push("x\0y"),
        push(key, application="OTHER-1"),
        push(key, application="NONE"),
        push(make_key(project, ["read"], "reader")),
        push(make_key(off)),
        call("getTrackingLog", {"request": {"auth": make_key(project, ["send"], "sender")}}),
        call("getResults", {"request": {"auth": make_key(off, name="two"), "request_id": "x"}}),
    ):
        assert found == FORBIDDEN
    project.pushwoosh.enabled = False
    project.pushwoosh.save()
    assert push(key) == FORBIDDEN


# --- devices


def test_devices_register_and_leave(key, project):
    device = {"application": APPLICATION, "hwid": "hw-1", "device_type": 3, "push_token": TOKENS[0], "language": "de"}
    assert call("registerDevice", {"request": device}) == FORBIDDEN
    assert call("registerDevice", {"request": device | {"auth": key}})["status_code"] == 200
    found = Device.objects.get()
    assert (found.platform, found.token, found.hwid, found.language) == ("android", TOKENS[0], "hw-1", "de")
    project.pushwoosh.open_registration = True
    project.pushwoosh.save()
    assert call("registerDevice", {"request": device | {"push_token": TOKENS[1]}})["status_code"] == 200
    assert Device.objects.get().token == TOKENS[1]
    assert call("registerDevice", {"request": device | {"application": "NONE"}}) == FORBIDDEN
    assert call("registerDevice", {"request": device | {"push_token": "short"}})["status_code"] == 210
    for _ in range(2):
        assert call("unregisterDevice", {"request": {"application": APPLICATION, "hwid": "hw-1"}})["status_code"] == 200
    found = Device.objects.get()
    assert (found.valid, found.reason) == (False, "unregistered")


# --- the log


def asked(key: str, day: str | None = None) -> str:
    request = {"auth": key} | ({"date": day} if day else {})
    found = call("getTrackingLog", {"request": request})
    assert found["status_code"] == 200, found
    return found["response"]["request_id"]


def results(key: str, request_id: str) -> Any:
    return call("getResults", {"request": {"auth": key, "request_id": request_id}})


def fetched(url: str) -> str:
    answer = Client().get(urlsplit(url).path)
    assert answer.status_code == 200
    archive = ZipFile(io.BytesIO(b"".join(answer)))
    assert archive.testzip() is None
    (name,) = archive.namelist()
    return archive.read(name).decode()


def log_of(key: str, day: str | None = None) -> list[list[str]]:
    request_id = asked(key, day)
    tasks.push_log_slice()
    header, *rows = fetched(results(key, request_id)["response"]["fileName"]).splitlines(keepends=True)
    assert header == push_log.HEADER
    return list(csv.reader(rows, delimiter=";"))


def test_the_two_steps(key, project, settings):
    settings.PUBLIC_URL = "https://push.example.com"
    sent(key)
    request_id = asked(key)
    assert asked(key) == request_id  # the same day again, while it is being made
    assert OrmQ.objects.exists()
    waiting = results(key, request_id)
    assert (waiting["status_code"], waiting["response"]) == (202, None)
    log = PushLog.objects.get()
    assert log.day == datetime.now(UTC).date()
    tasks.push_log_slice()
    found = results(key, request_id)
    assert found["status_code"] == 200
    url = found["response"]["fileName"]
    assert url == f"https://push.example.com/json/1.3/files/{log.file_token}.zip" and len(log.file_token) == 43
    text = fetched(url)
    head, line = text.splitlines()
    assert head == "//timestamp;tracking_code;target_id;hwid;status;description;appCode;payload"
    message = Message.objects.get()
    stamp = message.created_at.strftime("%Y-%m-%d %H:%M")
    assert line.startswith(f'"{stamp}')
    payload = '"{""aps"":{""alert"":""text""},""pw_msg"":""1""}"'
    assert line.partition(";")[2] == f"{message.external_id};{TOKENS[0]};;created;Success;{APPLICATION};{payload}"


def test_a_file_is_for_whoever_has_its_address_while_it_lasts(key, project):
    request_id = asked(key)
    log = PushLog.objects.get()
    path = f"/json/1.3/files/{log.file_token}.zip"
    assert Client().get(path).status_code == 404
    tasks.push_log_slice()
    answer = Client().get(path)
    assert answer["Content-Type"] == "application/zip" and "attachment" in answer["Content-Disposition"]
    assert Client().head(path).status_code == 200
    assert Client().post(path).status_code == 405
    for wrong in ("x", "%00", "%ff" * 43, "x" * 43, log.file_token[:-1], request_id):
        assert Client().get(f"/json/1.3/files/{wrong}.zip").status_code == 404
    PushLog.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert Client().get(path).status_code == 404
    unknown = results(key, request_id)
    assert unknown["status_code"] == 210
    tasks.push_logs()
    assert not PushLog.objects.exists() and not PushLogPart.objects.exists()
    assert results(key, request_id) == unknown == results(key, "0" * 32) == results(key, "x\x01")


def test_another_projects_request_is_not_known(key):
    other = make_project()
    open_to_pushwoosh(other, "OTHER-1")
    foreign = asked(make_key(other))
    assert results(key, foreign) == results(key, "0" * 32)


@pytest.mark.parametrize(
    "day",
    [
        "2026-02-30",
        "yesterday",
        "2026-1-1",
        20260101,
        "2026-01-01T00:00:00",
        "",
        None,
        "0001-01-01",
        "1969-12-31",
        "9999-12-31",
    ],
)
def test_a_wrong_date_is_named(key, day):
    found = call("getTrackingLog", {"request": {"auth": key, "date": day}})
    if day is None:
        assert found["status_code"] == 200
        return
    assert found["status_code"] == 210 and found["status_message"].startswith("date ")
    assert not PushLog.objects.exists()


@pytest.mark.parametrize("day", ["2020-01-01", "2026-06-30"])
def test_a_day_without_messages_has_an_empty_log(key, day):
    assert log_of(key, day) == []


def live(*facts: tuple[FactKind, float], external_id: str = "code") -> Any:
    """A message with one attempt of these facts, each so many seconds after its start."""
    message = Message.objects.get(external_id=external_id)
    work = Record([message.pk])
    row = work.messages[message.pk]
    attempt = work.start_attempt(row, account_id=row.account_id, idempotency_key="k")
    for kind, seconds in facts:
        fact = Fact(kind, work.now + timedelta(seconds=seconds), code="C;1" if kind is FactKind.FAILED else "")
        work.add_fact(row, attempt, fact, key=f"{kind}:{attempt.number}", source=Source("provider"))
    work.save()
    return message


def test_a_line_for_each_event_in_the_words_of_the_document(key, project):
    device = make_device(project, hwid="hw-1")
    make_message(project, channel="push", recipient=device.token, content={"text": "hi"}, external_id="code")
    live((FactKind.ACCEPTED, 1), (FactKind.DELIVERED, 2), (FactKind.OPENED, 3), (FactKind.DEFERRED, 0.5))
    rows = log_of(key)
    assert [row[4] for row in rows] == ["created", "sent", "delivered", "delivered", "opened"]
    assert {tuple(row[1:4]) for row in rows} == {("code", device.token, "hw-1")}
    assert {row[6] for row in rows} == {APPLICATION}
    assert rows == sorted(rows, key=lambda row: row[0])


def test_a_failure_is_told_with_its_cause_and_its_cells_are_quoted(key, project):
    make_message(project, channel="push", recipient=TOKENS[0], external_id="code")
    live((FactKind.FAILED, 1))
    assert [row[4:6] for row in log_of(key)] == [
        ["created", "Success"],
        ["sent", "Success"],
        ["failed", "failed: C;1"],
    ]


def test_a_push_that_went_on_by_sms_has_not_reached_the_device(key, project):
    make_account(project, channel="sms")
    fallback = [{"channel": "sms", "recipient": "+491511234567", "content": {"text": "by SMS"}}]
    make_message(project, channel="push", recipient=TOKENS[0], external_id="code", fallback=fallback)
    message = live((FactKind.FAILED, 1))
    work = Record([message.pk])
    row = work.messages[message.pk]
    work.take_leg(row, 1, route.choose(project.pk, "sms"), source=Source("dispatch"), text="the leg before failed")
    work.save()
    live((FactKind.ACCEPTED, 2), (FactKind.DELIVERED, 3))
    assert Message.objects.get().status == "delivered"
    assert [row[4] for row in log_of(key)] == ["created", "sent", "failed"]


def test_messages_of_other_channels_projects_and_days_are_not_in_it(key, project):
    make_account(project, channel="email")
    make_message(project)
    other = make_project()
    make_account(other, channel="push")
    make_message(other, channel="push", recipient=TOKENS[0])
    assert log_of(key) == []
    sent(key)
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    assert log_of(key, yesterday) == []
    assert len(log_of(key)) == 1


def test_what_was_scheduled_a_month_ahead_is_in_the_log_of_the_day_it_was_sent(key, project):
    account = make_account(project, channel="push", code="old")
    handed_in = datetime.now(UTC) - timedelta(days=30)
    make_old(project, account, handed_in, late=datetime.now(UTC), channel="push", recipient=TOKENS[0])
    assert [row[4] for row in log_of(key)] == ["sent", "delivered", "delivered"]


def test_without_content_the_line_stays(key, project):
    sent(key)
    Content.objects.all().delete()
    ((*_, status, description, application, payload),) = log_of(key)
    assert (status, description, application, payload) == ("created", "Success", APPLICATION, "{}")


@pytest.mark.parametrize("noted", ["x", [1], 7, None, {"target": 7, "aps": "y"}])
def test_what_the_native_api_notes_breaks_no_log(key, project, noted):
    content = {"text": "hi", "data": {"link": 7}}
    make_message(project, channel="push", recipient=TOKENS[0], content=content, metadata={"pushwoosh": noted})
    ((*_, status, _, _, payload),) = log_of(key)
    assert status == "created" and json.loads(payload)["l"] == 7


def test_a_log_is_made_in_pieces_and_goes_on_where_it_was(key, project, monkeypatch):
    monkeypatch.setattr(logs, "CHUNK", 2)
    sent(key, devices=[f"device-token-{n}" for n in range(5)])
    log, _ = logs.ask(project.pk, None)
    assert logs.work(seconds=-1) is True  # nothing done yet
    logs._piece(log.pk)  # and its worker is gone
    tasks.push_logs()
    assert OrmQ.objects.count() == 1
    assert logs.work(seconds=5) is False  # nothing is left
    log.refresh_from_db()
    assert (log.state, log.parts, log.rows) == ("done", 3, 5)
    assert logs.work(seconds=5) is False  # and does nothing
    text = fetched(f"http://x/json/1.3/files/{log.file_token}.zip")
    assert len(text.splitlines()) == 6
    assert logs.forget(project.pk) == 1


def test_one_worker_makes_all_logs_however_many_days_are_asked_for(key, project):
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=n)).isoformat() for n in range(3)]
    requests = [asked(key, day) for day in (*days, *days)]  # again while they are being made
    assert len(set(requests)) == OrmQ.objects.count() == 3
    OrmQ.objects.all().delete()
    held = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        with held.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", logs._LOCK)
            tasks.push_log_slice()
            assert PushLog.objects.filter(state="working").count() == 3 and not OrmQ.objects.exists()
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", logs._LOCK)  # by its end it would be a little later
    finally:
        held.close()
    tasks.push_log_slice()
    assert PushLog.objects.filter(state="done").count() == 3 and not OrmQ.objects.exists()


def test_a_log_that_cannot_be_made_stops_no_other(key, project, monkeypatch):
    other = make_project()
    make_account(other, channel="push")
    open_to_pushwoosh(other, "OTHER-1")
    theirs = make_key(other)
    first = asked(theirs)
    push(theirs, application="OTHER-1")
    sent(key)
    second = asked(key)
    whole = logs._lines
    monkeypatch.setattr(logs, "_lines", lambda log, said: 1 / 0 if log.project_id == other.pk else whole(log, said))
    OrmQ.objects.all().delete()
    tasks.push_log_slice()
    states = dict(PushLog.objects.values_list("request_id", "state"))
    assert states == {first: "working", second: "done"} and not OrmQ.objects.exists()
    tasks.push_logs()
    assert OrmQ.objects.count() == 1  # a minute later it is tried again


def test_a_file_that_is_removed_while_it_is_read_ends_in_an_error(key, project, monkeypatch):
    monkeypatch.setattr(logs, "CHUNK", 1)
    sent(key, devices=TOKENS)
    log, _ = logs.ask(project.pk, None)
    logs.work(seconds=5)
    log.refresh_from_db()
    pieces = logs.stream(log)
    next(pieces)
    logs.forget(project.pk)
    with pytest.raises(PushLogPart.DoesNotExist):
        list(pieces)


# --- words and lines

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
WHO = Pushed("T-1", "target", "hw", "APP", "{}")


def words(*happened: Happened) -> list[str]:
    day = (NOON.replace(hour=0), NOON.replace(hour=0) + timedelta(days=1))
    return [next(csv.reader([line], delimiter=";"))[4] for line in push_log.lines(WHO, happened, *day)]


def at(seconds: float, kind: str, attempt: int = 1, **kw: Any) -> Happened:
    return Happened(NOON + timedelta(seconds=seconds), kind, attempt, **kw)


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ([at(0, "queued", 0, decision=1), at(0, ""), at(0, "accepted")], ["created", "sent", "delivered"]),
        # an attempt that is followed by another has not failed yet
        ([at(1, "failed"), at(1, "retry_scheduled", decision=2), at(2, "", 2), at(3, "failed", 2)], ["sent", "failed"]),
        ([at(1, "failed"), at(1, "gave_up", decision=2)], ["failed"]),
        ([at(1, "bounced"), at(2, "next_leg", decision=2)], ["failed"]),  # what follows is no push
        ([at(1, "opened", machine=True), at(2, "clicked")], ["opened"]),
        ([at(1, "cancelled", decision=2)], ["failed"]),
        ([at(1, "followed", decision=1)], ["created"]),
        ([at(1, "followed", decision=3)], []),
        ([at(1, "outcome_unknown"), at(1, "deferred"), at(1, "other"), at(1, "complained")], []),
        ([at(-43_201, "queued", decision=1), at(43_200, "opened")], []),
        ([at(-43_200, "queued", decision=1), at(43_199, "opened")], ["created", "opened"]),
    ],
)
def test_words(happened, expected):
    assert words(*happened) == expected
    assert words(*reversed(happened)) == expected


def test_the_documents_own_line():
    payload = {
        "aps": {"alert": "text", "badge": 0, "sound": ""},
        "md": {"uid": 11793546856, "user_id": "09913CFD-74AD-4A8C-B06E-CCA51200ADDC"},
        "p": "Zh",
        "pw_msg": "1",
    }
    target = "09913CFD-74AD-4A8C-B06E-CCA51200ADDC"
    pushed = Pushed("T-D6C2-ABC2228F-C9C305A9", target, target, APPLICATION, json.dumps(payload, separators=(",", ":")))
    moment = datetime(2021, 4, 20, 13, 1, 1, tzinfo=UTC)
    (line,) = push_log.lines(pushed, [Happened(moment, "accepted", 1)], moment, moment + timedelta(days=1))
    assert line == (
        '"2021-04-20 13:01:01";T-D6C2-ABC2228F-C9C305A9;09913CFD-74AD-4A8C-B06E-CCA51200ADDC;'
        "09913CFD-74AD-4A8C-B06E-CCA51200ADDC;delivered;Success;C90C0-0E786;"
        '"{""aps"":{""alert"":""text"",""badge"":0,""sound"":""""},""md"":{""uid"":11793546856,'
        '""user_id"":""09913CFD-74AD-4A8C-B06E-CCA51200ADDC""},""p"":""Zh"",""pw_msg"":""1""}"\n'
    )


def test_no_cell_is_guarded_against_formulas_and_line_breaks_stay_inside():
    pushed = WHO._replace(target='=1+1;"x"\n')
    (line,) = push_log.lines(pushed, [at(0, "")], NOON, NOON + timedelta(days=1))
    assert next(csv.reader(io.StringIO(line, newline=""), delimiter=";"))[2] == '=1+1;"x"\n'


def test_every_kind_of_event_has_its_word_or_none():
    assert set(push_log.WORDS) <= {*FactKind, *Decision}
    assert set(push_log.WORDS.values()) | {"sent"} == {"created", "sent", "delivered", "failed", "opened"}


# --- size


def fill(project, messages: int) -> None:
    """Messages with four events each, as the services would leave them."""
    keys = [ids.new() for _ in range(messages)]
    model = make_message(project, channel="push", recipient=TOKENS[0])
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM event WHERE message_id = %s", [model])
        cursor.execute(
            "INSERT INTO message SELECT (jsonb_populate_record(m, jsonb_build_object('id', k))).*"
            " FROM message m, unnest(%s::uuid[]) k WHERE m.id = %s",
            [keys, model],
        )
        cursor.execute("DELETE FROM message WHERE id = %s", [model])
        cursor.execute(
            "INSERT INTO event (message_id, dedupe_key, kind, attempt, occurred_at, recorded_at, source, machine,"
            " code, text)"
            " SELECT id, kind, kind, 1, now(), now(), 'provider', false, '', '' FROM message"
            " CROSS JOIN unnest(ARRAY['queued', 'accepted', 'delivered', 'opened']) AS kind WHERE project_id = %s",
            [project.pk],
        )
        cursor.execute("ANALYZE message, event")  # as autovacuum would have done long before


def test_a_log_of_100_000_events_takes_little_memory(key, project):
    fill(project, 25_000)
    log, _ = logs.ask(project.pk, None)
    tracemalloc.start()
    try:
        assert not logs.work(seconds=200)
        made = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        log.refresh_from_db()
        size = sum(len(piece) for piece in logs.stream(log))
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert log.rows == 100_000
    assert made < 30_000_000 and read < 30_000_000
    assert size < 2_000_000  # compressed; as text it is some 12 MB


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({}, "content"),
        ("a\0", "content"),
        (7, "content"),
        (None, "content"),
        (["a"], "content"),
        ({"en": "ok", "de": "a\0"}, "content/de"),
        ({"en": 7}, "content/en"),
        ({"[text]": "a\0"}, "content"),
    ],
)
def test_errors_of_the_content_point_at_what_was_sent(key, content, place):
    said = push(key, content=content)["status_message"]
    assert said.startswith(f"notifications/0/{place} ") and ";" not in said, said
    assert "function" not in said and "0x" not in said


def test_a_log_s_file_takes_no_other_method():
    answer = Client(enforce_csrf_checks=True).post("/json/1.3/files/x.zip")
    assert (answer.status_code, answer["Allow"], answer.json()["status_code"]) == (405, "GET, HEAD", 405)
