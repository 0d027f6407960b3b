"""The register of devices: /v1/devices, and what providers' answers make of a token."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from providers.base import BounceClass, Classification, FailureClass, ProviderError, Receipt, ReceiptKind, SendResult
from tests.builders import make_account, make_device, make_key, make_project
from tests.tracking.lives import queue_message
from tracking import accounts, ids
from tracking.models import Attempt, Device, Suppression
from tracking.services import devices, dispatch, outcomes, receipts, suppress
from tracking.services.handover import Outcome

pytestmark = pytest.mark.django_db
TOKEN = "fcm-token-0123456789"
DOCUMENT = {"platform": "android", "token": TOKEN, "hwid": "hw-1", "user_id": "ada", "language": "de"}
GONE = Classification(FailureClass.INVALID_RECIPIENT, BounceClass.HARD, suppress=True)


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def client(project) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_key(project)}"})


def post(client: Client, document: Any) -> Any:
    return client.post("/v1/devices", json.dumps(document), content_type="application/json")


# --- the API


def test_registered_shown_listed_and_removed(client):
    made = post(client, {**DOCUMENT, "tags": {"plan": "pro"}, "app_version": "2.1"})
    assert made.status_code == 201, made.content
    shown = made.json()
    assert (shown["token"], shown["valid"], shown["invalid"], shown["tags"]) == (TOKEN, True, None, {"plan": "pro"})
    url = f"/v1/devices/{shown['id']}"
    assert client.get(url).json() == shown
    assert client.get("/v1/devices").json() == {"devices": [shown], "next_cursor": None}
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == client.delete(url).status_code == 404


def test_registering_again_renews_and_keeps_what_is_not_named(client):
    first = post(client, DOCUMENT).json()
    again = post(client, {"platform": "ios", "token": "another-token", "hwid": "hw-1"})
    assert again.status_code == 200
    assert again.json() == first | {
        "platform": "ios",
        "token": "another-token",
        "registered_at": again.json()["registered_at"],
    }
    assert again.json()["registered_at"] > first["registered_at"]
    assert post(client, {"platform": "ios", "token": "another-token", "user_id": "bob"}).json()["hwid"] == "hw-1"


def test_a_token_that_moves_to_another_device_leaves_the_first(client):
    post(client, DOCUMENT)
    other = post(client, {"platform": "ios", "token": "token-of-another", "hwid": "hw-2"}).json()
    moved = post(client, {"platform": "android", "token": TOKEN, "hwid": "hw-2"}).json()
    assert moved["id"] == other["id"]
    assert [(device.hwid, device.token) for device in Device.objects.all()] == [("hw-2", TOKEN)]


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"platform": "toaster"}, "/platform"),
        ({"token": "short"}, "/token"),
        ({"token": "with space in it"}, "/token"),
        ({"token": "x" * 501}, "/token"),
        ({"hwid": "a\0b"}, "/hwid"),
        ({"hwid": "x" * 201}, "/hwid"),
        ({"user_id": 7}, "/user_id"),
        ({"tags": {str(n): n for n in range(101)}}, "/tags"),
        ({"tags": {"x": "\0"}}, "/tags"),
        ({"push_token": "x"}, "/push_token"),
        ({"valid": True}, "/valid"),
    ],
)
def test_bad_input_names_the_field(client, wrong, pointer):
    answer = post(client, DOCUMENT | wrong)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert not Device.objects.exists()


@pytest.mark.parametrize(
    "query", ["platform=x", "valid=yes", "cursor=x", "cursor=9" + "9" * 30, "limit=0", "x=1", "hwid="]
)
def test_a_bad_query_is_named(client, query):
    answer = client.get(f"/v1/devices?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0]


@pytest.mark.parametrize("number", ["x", "0", "-1", "9" * 19, "9" * 40, "１"])
def test_no_such_device(client, number):
    assert client.get(f"/v1/devices/{number}").status_code == 404


def test_lists_are_filtered_and_paged(client, project):
    made = [make_device(project, user_id=f"user-{n % 2}", valid=n != 3, platform="ios") for n in range(5)]
    make_device(make_project())
    with CaptureQueriesContext(connection) as queries:
        page = client.get("/v1/devices?limit=2").json()
    assert len(queries) <= 3
    found = page["devices"]
    while page["next_cursor"]:
        page = client.get(f"/v1/devices?limit=2&cursor={page['next_cursor']}").json()
        found += page["devices"]
    assert [each["id"] for each in found] == [device.pk for device in reversed(made)]
    for query, wanted in (
        ("user_id=user-1", [made[3], made[1]]),
        ("valid=false", [made[3]]),
        ("platform=ios&valid=true&user_id=user-1", [made[1]]),
        (f"token={made[2].token}", [made[2]]),
        ("hwid=none", []),
    ):
        ids_found = [each["id"] for each in client.get(f"/v1/devices?{query}").json()["devices"]]
        assert ids_found == [device.pk for device in wanted], query


def test_another_projects_device_is_not_there(client):
    foreign = make_device(make_project())
    assert client.get(f"/v1/devices/{foreign.pk}").status_code == 404
    assert client.delete(f"/v1/devices/{foreign.pk}").status_code == 404
    assert post(client, {"platform": "ios", "token": foreign.token}).status_code == 201
    assert Device.objects.count() == 2


def test_scopes(project):
    reader = Client(headers={"Authorization": f"Bearer {make_key(project, ['read'], 'r')}"})
    sender = Client(headers={"Authorization": f"Bearer {make_key(project, ['send'], 's')}"})
    assert post(reader, DOCUMENT).status_code == sender.get("/v1/devices").status_code == 403
    made = post(sender, DOCUMENT).json()["id"]
    assert reader.delete(f"/v1/devices/{made}").status_code == 403
    assert reader.get(f"/v1/devices/{made}").status_code == 200


# --- what providers say


def attempt_of(project, token: str) -> Any:
    account = make_account(project, channel="push")
    accounts.forget()
    due = datetime.now(UTC) - timedelta(hours=1)  # the database goes by the beginning of the test
    key = queue_message(project, account, recipient=token, body={"text": "hi"}, due_at=due)
    (handover,) = dispatch.start(account.pk, 1)
    return account, key, handover


def refuse(handover, classification=GONE) -> None:
    error = ProviderError("the app was removed", classification=classification, code="UNREGISTERED")
    outcomes.finish([Outcome(handover, datetime.now(UTC), error=error)])


def test_a_refused_token_becomes_invalid_and_its_reason_stays(client, project):
    device = make_device(project, token=TOKEN)
    _, key, handover = attempt_of(project, TOKEN)
    refuse(handover)
    shown = client.get(f"/v1/devices/{device.pk}").json()
    assert shown["valid"] is False
    assert shown["invalid"].pop("at")
    assert shown["invalid"] == {
        "reason": "invalid_recipient",
        "detail": "UNREGISTERED the app was removed",
        "notification_id": str(key),
    }
    assert suppress.suppressed(project.pk, [("push", TOKEN)])


def test_one_registered_again_since_the_attempt_stays_valid(client, project):
    post(client, DOCUMENT)
    _, _, handover = attempt_of(project, TOKEN)
    post(client, DOCUMENT)
    refuse(handover)
    assert Device.objects.get().valid
    assert not suppress.suppressed(project.pk, [("push", TOKEN)])


@pytest.mark.parametrize("turn", [1, -1])
def test_of_several_refusals_at_once_the_last_hand_over_counts(client, project, turn):
    post(client, DOCUMENT)
    before = attempt_of(project, TOKEN)[2]
    post(client, DOCUMENT)
    since = attempt_of(project, TOKEN)[2]
    error = ProviderError("the app was removed", classification=GONE, code="UNREGISTERED")
    outcomes.finish([Outcome(each, datetime.now(UTC), error=error) for each in (before, since)[::turn]])
    assert not Device.objects.get().valid
    assert suppress.suppressed(project.pk, [("push", TOKEN)])


def test_registering_again_lifts_what_the_refusal_did_and_nothing_else(client, project):
    post(client, DOCUMENT)
    _, _, handover = attempt_of(project, TOKEN)
    refuse(handover)
    suppress.add([suppress.Entry(project.pk, "push", "other-token", "hard_bounce")])
    assert post(client, DOCUMENT).json()["valid"] is True
    assert not suppress.suppressed(project.pk, [("push", TOKEN)])
    assert suppress.suppressed(project.pk, [("push", "other-token")])
    suppress.add([suppress.Entry(project.pk, "push", TOKEN, "unsubscribed")])
    post(client, DOCUMENT)
    assert Suppression.objects.filter(reason="unsubscribed").count() == 1


def test_other_failures_other_projects_and_other_channels_change_nothing(project):
    device, elsewhere = make_device(project, token=TOKEN), make_device(make_project(), token=TOKEN)
    _, _, handover = attempt_of(project, TOKEN)
    refuse(handover, Classification(FailureClass.PERMANENT))
    device.refresh_from_db()
    assert device.valid
    _, _, handover = attempt_of(project, TOKEN)
    refuse(handover)
    device.refresh_from_db()
    elsewhere.refresh_from_db()
    assert (device.valid, elsewhere.valid) == (False, True)


def test_a_token_in_no_register_is_suppressed_as_ever(project):
    _, _, handover = attempt_of(project, TOKEN)
    refuse(handover)
    assert suppress.suppressed(project.pk, [("push", TOKEN)])


def test_a_receipt_invalidates_too(project):
    device = make_device(project, token=TOKEN)
    account, key, handover = attempt_of(project, TOKEN)
    outcomes.finish([Outcome(handover, datetime.now(UTC), result=SendResult("ref"))])
    receipt = Receipt(
        ReceiptKind.FAILED,
        None,
        echo=ids.echo(key, 1),
        code="Unregistered",
        failure=FailureClass.INVALID_RECIPIENT,
        suppress=True,
    )
    receipts.apply([receipts.Item(ids.new(), 0, account.pk, datetime.now(UTC), receipt)])
    device.refresh_from_db()
    assert (device.valid, device.reason, device.detail, device.message_id) == (
        False,
        "invalid_recipient",
        "Unregistered",
        key,
    )


def test_by_hand_and_back(project):
    device = make_device(project, token=TOKEN)
    suppress.add([suppress.Entry(project.pk, "push", TOKEN, "hard_bounce")])
    devices.invalidate(device, detail="a test phone")
    device.refresh_from_db()
    assert (device.valid, device.reason, device.detail) == (False, "manual", "a test phone")
    devices.reactivate(device)
    device.refresh_from_db()
    assert (device.valid, device.reason, device.detail, device.invalid_at) == (True, "", "", None)
    assert not suppress.suppressed(project.pk, [("push", TOKEN)])


def test_who_is_meant(project):
    by_hwid, by_token = make_device(project, hwid="hw-9"), make_device(project, user_id="ada")
    make_device(project, user_id="ada", valid=False)
    assert devices.named(project.pk, ["hw-9", by_token.token, "nobody", ""]) == {
        "hw-9": by_hwid,
        by_token.token: by_token,
    }
    assert devices.of_users(project.pk, ["ada", "bob"], 10) == [by_token]
    assert Attempt.objects.count() == 0
    assert by_hwid.registered_at > datetime.now(UTC) - timedelta(minutes=1)
