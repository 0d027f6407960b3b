"""Pushwoosh's page on push tracking, line by line, over HTTP: its own requests, and the client of the package index.

Every test follows the document from its first sentence on; only host and key are replaced.
"""

from __future__ import annotations

import csv
import io
import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zipfile import ZipFile

import pytest
import requests
from pypushwoosh import client as vendor
from pypushwoosh import command
from pypushwoosh.notification import Notification

from providers.base import Receipt, ReceiptKind
from tests import agreeing
from tests.builders import make_account, make_key, make_project, open_to_pushwoosh
from tests.seeds.live import DOCUMENTS, Live
from tests.seeds.reading import NOTHING, read_whole
from tracking import ids, tasks
from tracking.models import Message, Project
from tracking.services import receipts

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
APPLICATION = "C90C0-0E786"
DEVICE = "09913CFD-74AD-4A8C-B06E-CCA51200ADDC"
DOCUMENT = (DOCUMENTS / "pushwoosh-push-tracking.txt").read_text()


@pytest.fixture
def project() -> Project:
    found = make_project()
    make_account(found, channel="push")
    open_to_pushwoosh(found, APPLICATION)
    return found


@pytest.fixture
def key(project: Project) -> str:
    return make_key(project)


def said(after: str) -> Any:
    """The first JSON of the document after these words, without its comments."""
    text = re.sub(r"//[^\n\"]*?(?= \}|\n)", "", DOCUMENT[DOCUMENT.index(after) :])
    return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]


def address(method: str, live: Live) -> str:
    """Where the document says that the method is, on our host."""
    (found,) = re.findall(rf"https://api\.pushwoosh\.com(/json/1\.3/{method})\b", DOCUMENT)
    return live.url + found


def post(url: str, body: Any) -> Any:
    answer = agreeing.check(requests.post(url, json=body, timeout=30))
    assert answer.status_code == 200
    return answer.json()


def create(live: Live, key: str, **kw: Any) -> Any:
    notification = {"send_date": "now", "content": "text", "devices": [DEVICE], **kw}
    body = {"request": {"application": APPLICATION, "auth": key, "notifications": [notification]}}
    return post(f"{live.url}/json/1.3/createMessage", body)


def make_the_file() -> None:
    """What a worker does meanwhile."""
    tasks.push_log_slice()


def fetch(live: Live, key: str, day: str | None = None) -> list[str]:
    """The document's two requests and the file, as a poller makes them. The lines of the CSV."""
    ask = said("/json/1.3/getTrackingLog")
    ask["request"]["auth"] = key
    ask["request"].pop("date")
    if day:
        ask["request"]["date"] = day
    started = post(address("getTrackingLog", live), ask)
    request_id = started["response"]["request_id"]
    assert started == said("Response:") | {"response": {"request_id": request_id}}
    assert re.fullmatch(r"[0-9a-f]{32}", request_id)
    want = said("/json/1.3/getResults")
    assert set(want["request"]) == {"auth", "request_id"}
    want["request"] = {"auth": key, "request_id": request_id}
    not_ready = post(address("getResults", live), want)
    assert not_ready["status_code"] != 200 and not_ready["response"] is None
    make_the_file()
    ready = post(address("getResults", live), want)
    link = ready["response"]["fileName"]
    assert ready == said("tracking log link") | {"response": {"fileName": link}}
    assert link.startswith(f"{live.url}/") and link.endswith(".zip")
    file = agreeing.check(requests.get(link, timeout=30))  # a direct link: nothing is shown to be let in
    assert file.status_code == 200
    archive = ZipFile(io.BytesIO(file.content))
    assert archive.testzip() is None
    (name,) = archive.namelist()
    assert name.endswith(".csv")
    return archive.read(name).decode().splitlines()


def test_a_notification_for_devices_returns_tracking_codes(live: Live, key: str) -> None:
    """ "each notification that you send for specific devices returns the unique tracking codes in the response"."""
    found = create(live, key, devices=[DEVICE, "another-device"])
    example = said("tracking codes in the response")
    assert found == example | {"response": example["response"] | {"TrackingCodes": found["response"]["TrackingCodes"]}}
    codes = found["response"]["TrackingCodes"]
    assert len(set(codes)) == 2
    assert all(re.fullmatch(r"T-[0-9A-F]{4}-[0-9A-F]{8}-[0-9A-F]{8}", code) for code in codes)


def test_the_log_of_a_notification_from_its_beginning_to_its_end(live: Live, key: str, project: Project) -> None:
    """ "created, sent, delivered …, failed …, opened", in the line that the document prints."""
    (code,) = create(live, key, data={"order": 7})["response"]["TrackingCodes"]
    live.work("dispatch")
    message = Message.objects.get(external_id=code)
    assert message.status == "sent"
    opened = Receipt(ReceiptKind.OPENED, None, echo=ids.echo(message.pk, 1))
    receipts.apply([receipts.Item(ids.new(), 0, message.account_id, datetime.now(UTC), opened)])
    header, *lines = fetch(live, key)
    example = re.search(r'(//timestamp[a-zA-Z_;]*payload)("2021.*""\}")', DOCUMENT)
    assert header == example[1]
    rows = [dict(zip(header.lstrip("/").split(";"), next(csv.reader([x], delimiter=";")), strict=True)) for x in lines]
    assert [row["status"] for row in rows] == ["created", "sent", "delivered", "opened"]
    model = dict(zip(header.lstrip("/").split(";"), next(csv.reader([example[2]], delimiter=";")), strict=True))
    for row, line in zip(rows, lines, strict=True):
        assert list(row) == list(model)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["timestamp"])
        at = datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        assert abs(at - datetime.now(UTC)) < timedelta(minutes=2)
        assert (row["tracking_code"], row["target_id"], row["appCode"]) == (code, DEVICE, APPLICATION)
        assert row["description"] == model["description"] == "Success"
        assert json.loads(row["payload"]) == {"aps": {"alert": "text"}, "u": {"order": 7}, "pw_msg": "1"}
        # quoted where the document quotes
        assert [cell[:1] == '"' for cell in line.split(";")[:7]] == [
            cell[:1] == '"' for cell in example[2].split(";")[:7]
        ]
        assert line.split(";", 7)[7].startswith('"{""aps"":') and example[2].split(";", 7)[7].startswith('"{""aps"":')


def test_sending_was_unsuccessful(live: Live, key: str, project: Project) -> None:
    (code,) = create(live, key)["response"]["TrackingCodes"]
    live.work("dispatch")
    message = Message.objects.get(external_id=code)
    refused = Receipt(ReceiptKind.FAILED, None, echo=ids.echo(message.pk, 1), code="NotRegistered")
    receipts.apply([receipts.Item(ids.new(), 0, message.account_id, datetime.now(UTC), refused)])
    last = next(csv.reader([fetch(live, key)[-1]], delimiter=";"))
    assert last[4:6] == ["failed", "failed: NotRegistered"]


def test_the_hwid_is_the_registered_devices(live: Live, key: str, project: Project) -> None:
    """ "target_id - device identifier (hwid/pushtoken) that was used for device specifying; hwid - hardware id"."""
    device = {"application": APPLICATION, "auth": key, "hwid": DEVICE, "device_type": 1, "push_token": "a-push-token"}
    assert post(f"{live.url}/json/1.3/registerDevice", {"request": device})["status_code"] == 200
    create(live, key, devices=[DEVICE])
    create(live, key, devices=["a-push-token"])
    rows = [next(csv.reader([line], delimiter=";")) for line in fetch(live, key)[1:]]
    assert [row[2:4] for row in rows] == [[DEVICE, DEVICE], ["a-push-token", DEVICE]]


def test_the_date_is_optional_and_a_day_of_utc(live: Live, key: str) -> None:
    create(live, key)
    assert len(fetch(live, key)) == 2
    today = datetime.now(UTC).date()
    assert len(fetch(live, key, today.isoformat())) == 2
    assert len(fetch(live, key, (today - timedelta(days=1)).isoformat())) == 1
    wrong = post(address("getTrackingLog", live), {"request": {"auth": key, "date": "01/02/2017"}})
    assert (wrong["status_code"], wrong["response"]) == (210, None)


def test_the_documents_request_id_and_keys_are_refused(live: Live, key: str) -> None:
    """Its own examples, as they stand: a token that is nobody's, and then a request that was never made."""
    as_it_stands = said("/json/1.3/getResults")
    refused = post(address("getResults", live), as_it_stands)
    assert refused["status_code"] == 403 and refused["response"] is None
    as_it_stands["request"]["auth"] = key
    assert post(address("getResults", live), as_it_stands)["status_code"] == 210
    assert post(address("getTrackingLog", live), said("/json/1.3/getTrackingLog"))["status_code"] == 403


class Client(vendor.PushwooshClient):
    """The vendor's client as it is, with another host."""

    def __init__(self, live: Live) -> None:
        super().__init__(timeout=30)
        self.scheme, self.hostname = live.url.split("://")


class GetTrackingLog(command.BaseAuthCommand):
    command_name = "getTrackingLog"


class GetResults(command.BaseAuthCommand):
    command_name = "getResults"

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self._command["request_id"] = request_id


def test_the_vendors_client_works_with_only_its_host_changed(live: Live, key: str, project: Project) -> None:
    client = Client(live)
    device = command.RegisterDeviceCommand(APPLICATION, DEVICE, 3, "android-token-1", language="de")
    assert client.invoke(device)["status_code"] == 403  # it has no key, and the project is not open to that
    project.pushwoosh.open_registration = True
    project.pushwoosh.save()
    assert client.invoke(command.RegisterDeviceCommand(APPLICATION, DEVICE, 3, "android-token-1"))["status_code"] == 200
    notification = Notification()
    notification.content, notification.devices = {"en": "Hello", "de": "Hallo"}, [DEVICE]
    notification.ios_badges, notification.link = 3, "https://example.com/"
    create_message = command.CreateMessageForApplicationCommand(notification, APPLICATION)
    create_message.auth = key
    created = client.invoke(create_message)
    assert created["status_code"] == 200 and created["response"]["Messages"] == ["CODE_NOT_AVAILABLE"]
    live.work("dispatch")
    ask = GetTrackingLog()
    ask.auth = key
    request_id = client.invoke(ask)["response"]["request_id"]
    make_the_file()
    results, found = GetResults(request_id), {}
    results.auth = key
    deadline = time.monotonic() + 10
    while not found.get("response") and time.monotonic() < deadline:
        found = client.invoke(results)
    (name,) = (
        archive := ZipFile(io.BytesIO(requests.get(found["response"]["fileName"], timeout=30).content))
    ).namelist()
    assert created["response"]["TrackingCodes"][0] in archive.read(name).decode()
    assert client.invoke(command.UnregisterDeviceCommand(APPLICATION, DEVICE))["status_code"] == 200


def test_the_document_was_read_whole() -> None:
    """Every line of it, and the tests that show what it promises."""
    codes = "test_a_notification_for_devices_returns_tracking_codes"
    log = "test_the_log_of_a_notification_from_its_beginning_to_its_end"
    date = "test_the_date_is_optional_and_a_day_of_utc"
    hwid = "test_the_hwid_is_the_registered_devices"
    shown_by = {
        "Push tracking": NOTHING,
        "As soon as the Push Tracking functionality is enabled": codes,
        '{ "status_code": 200, "status_message": "OK", "response": { "Messages"': codes,
        "Later you may use the getTrackingLog": log,
        "API method": log,
        "Method https://api.pushwoosh.com/json/1.3/getTrackingLog": log,
        '{ "request":{ "auth":"API TOKEN", "date":"2017-01-02"': date,
        "Response:": log,
        '{ "status_code": 200, "status_message": "OK", "response": { "request_id"': log,
        "Then use the /getResults": log,
        "method: https://api.pushwoosh.com/json/1.3/getResults": log,
        '{ "request":{ "auth":"API_ACCESS_TOKEN"': f"{log} test_the_documents_request_id_and_keys_are_refused",
        "In the results you will get": log,
        '{ "status_code":200, "status_message":"OK", "response":{ "fileName"': log,
        "In the ZIP file": log,
        "//timestamp;tracking_code": log,
        "Where:": NOTHING,
        "- timestamp": f"{log} {date}",
        "- tracking_code": f"{log} {codes}",
        "- target_id": hwid,
        "- hwid": hwid,
        "- status": f"{log} test_sending_was_unsuccessful",
        "- description": f"{log} test_sending_was_unsuccessful",
        "- appCode": log,
        "- payload": log,
    }
    read_whole(DOCUMENT.splitlines(), shown_by)
