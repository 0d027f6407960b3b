"""Consents by recipient and purpose: over the API, and asked before anything is sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_account, make_key, make_message, make_project, sender_of
from tracking.models import Consent, ConsentChange, Content, Event, Message, Project, QueueRow
from tracking.services import consents, dispatch, submit, suppress

pytestmark = pytest.mark.django_db(transaction=True)
ADA = {"channel": "email", "recipient": "ada@example.org", "purpose": "news"}
REFUSAL = "consent for the purpose “news” was withdrawn"


class Api:
    def __init__(self, key: str) -> None:
        self.client = Client(headers={"Authorization": f"Bearer {key}"})

    def put(self, document: Any, path: str = "consents") -> HttpResponse:
        return self.client.put(f"/v1/{path}", json.dumps(document), content_type="application/json")

    def get(self, **params: Any) -> Any:
        return self.client.get("/v1/consents", params)

    def delete(self, **params: Any) -> HttpResponse:
        return self.client.delete("/v1/consents", query_params=params)


@pytest.fixture
def project() -> Project:
    project = make_project(default_region="DE")
    make_account(project)
    return project


@pytest.fixture
def api(project: Project) -> Api:
    return Api(make_key(project))


def withdraw(api: Api, **kw: Any) -> None:
    assert api.put({**ADA, "state": "withdrawn", **kw}).status_code == 200


def message(key: Any) -> Message:
    return Message.objects.get(pk=key)


# --- the API


def test_set_read_and_removed(api):
    answer = api.put({**ADA, "recipient": "ada@EXAMPLE.org", "state": "granted"})
    assert answer.status_code == 200
    told = answer.json()
    assert {**told, "changed_at": ""} == {**ADA, "state": "granted", "changed_at": ""}
    assert api.get(channel="email", recipient="Ada@example.org").json() == {"consents": [told], "next_cursor": None}
    withdraw(api)
    withdraw(api)  # says nothing new
    assert list(Consent.objects.values_list("state", flat=True)) == ["withdrawn"]
    history = list(ConsentChange.objects.values_list("state", "source").order_by("pk"))
    assert history == [("granted", "api"), ("withdrawn", "api")]
    assert api.delete(**ADA).status_code == 204
    assert api.delete(**ADA).status_code == 404
    assert api.get(channel="email", recipient="ada@example.org").json()["consents"] == []
    assert ConsentChange.objects.count() == 3  # the history stays
    assert all(ConsentChange.objects.values_list("who", flat=True))  # the key's prefix


def test_many_at_once(api):
    many = [{**ADA, "recipient": f"r{n}@example.org", "state": ("granted", "withdrawn")[n % 2]} for n in range(1_000)]
    with CaptureQueriesContext(connection) as queries:
        answer = api.put({"consents": many}, "consents/batch")
    assert answer.status_code == 200
    assert [each["recipient"] for each in answer.json()["consents"]] == [each["recipient"] for each in many]
    assert len(queries) <= 12
    assert Consent.objects.filter(state="withdrawn").count() == 500
    told = api.put({"consents": [*many, many[0]]}, "consents/batch")
    assert told.status_code == 422
    twice = [{**ADA, "state": "granted"}, {**ADA, "state": "withdrawn"}]
    said = api.put({"consents": twice}, "consents/batch").json()["consents"]
    assert [each["state"] for each in said] == ["withdrawn", "withdrawn"]  # the last one counts


def test_a_project_is_read_a_page_at_a_time(api):
    for number in range(5):
        withdraw(api, recipient=f"r{number}@example.org", purpose=("news", "offers")[number % 2])
    first = api.get(limit="2").json()
    assert [each["recipient"] for each in first["consents"]] == ["r4@example.org", "r3@example.org"]
    second = api.get(limit="3", cursor=first["next_cursor"]).json()
    assert len(second["consents"]) == 3 and second["next_cursor"] is None
    assert len(api.get(purpose="offers").json()["consents"]) == 2


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({}, "/channel"),
        ([], ""),
        ({**ADA, "state": "maybe"}, "/state"),
        ({**ADA, "state": "granted", "recipient": "nobody"}, "/recipient"),
        ({**ADA, "state": "granted", "channel": "fax"}, "/channel"),
        ({**ADA, "state": "granted", "purpose": ""}, "/purpose"),
        ({**ADA, "state": "granted", "purpose": "a\nb"}, "/purpose"),
        ({**ADA, "state": "granted", "purpose": "x" * 101}, "/purpose"),
        ({**ADA, "state": "granted", "more": 1}, "/more"),
        ({**ADA, "state": "granted", "channel": "sms", "recipient": "+1"}, "/recipient"),
    ],
)
def test_bad_input_names_the_field(api, document, pointer):
    answer = api.put(document)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    batch = api.put({"consents": [{**ADA, "state": "granted"}, document]}, "consents/batch")
    assert batch.status_code == 422
    assert any(error["pointer"].startswith("/consents/1") for error in batch.json()["errors"])
    assert not Consent.objects.exists()


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"channel": "email"}, "recipient"),
        ({"recipient": "ada@example.org"}, "channel"),
        ({"channel": "fax", "recipient": "x"}, "channel"),
        ({"channel": "email", "recipient": "x"}, "recipient"),
        ({"limit": "0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "9" * 19}, "cursor"),
        ({"state": "granted"}, "state"),
    ],
)
def test_bad_parameters_are_named(api, params, name):
    answer = api.get(**params)
    assert answer.status_code == 400
    assert name in [error["parameter"] for error in answer.json()["errors"]]


def test_bad_deletions(api):
    assert api.delete(channel="email").status_code == 400
    assert api.delete(**{**ADA, "recipient": "x"}).status_code == 400
    assert api.delete(**ADA).status_code == 404


def test_scopes_and_other_projects(api):
    withdraw(api)
    other = make_project()
    assert Api(make_key(other)).get(channel="email", recipient=ADA["recipient"]).json()["consents"] == []
    assert Api(make_key(other)).delete(**ADA).status_code == 404
    sender = Api(make_key(other, ["send", "read"]))
    assert sender.put({**ADA, "state": "granted"}).status_code == 403
    assert sender.delete(**ADA).status_code == 403
    assert sender.get(limit="1").status_code == 200
    assert Api(make_key(other, ["send"])).get().status_code == 403
    assert api.client.post("/v1/consents", "{}", content_type="application/json").status_code == 405


# --- asked before sending


def test_what_was_withdrawn_is_not_sent(api, project):
    withdraw(api)
    key = make_message(project, purpose="news")
    found = message(key)
    assert (found.status, found.reason) == ("failed", "suppressed")
    assert Event.objects.get(message_id=key, kind="suppressed").text == REFUSAL
    assert not QueueRow.objects.exists()
    for free in ({}, {"purpose": "offers"}, {"purpose": "news", "recipient": "bob@example.org"}):
        assert message(make_message(project, **free)).status == "pending"
    assert api.put({**ADA, "state": "granted"}).status_code == 200
    assert message(make_message(project, purpose="news")).status == "pending"


def test_hashes_know_no_case_and_projects_are_apart(api, project):
    withdraw(api, recipient="ADA@example.org")
    assert message(make_message(project, purpose="news")).status == "failed"
    other = make_project()
    make_account(other)
    assert message(make_message(other, purpose="news")).status == "pending"


def test_batches_and_recipients_ask_each(api, project):
    withdraw(api)
    document = {"channel": "email", "content": {"text": "x"}, "purpose": "news"}
    answer = submit.submit(sender_of(project), {**document, "recipients": ["bob@example.org", "ada@example.org"]})
    assert [each["status"] for each in answer["notifications"]] == ["pending", "failed"]
    items = [{**document, "recipient": "ada@example.org"}, {**document, "recipient": "ada@example.org", "purpose": ""}]
    answer = submit.submit_batch(sender_of(project), {"notifications": items})
    assert [each["status"] for each in answer["notifications"]] == ["failed", "pending"]
    assert Event.objects.filter(kind="suppressed", text=REFUSAL).count() == 2


def test_the_suppression_list_comes_first(api, project):
    withdraw(api)
    suppress.add([suppress.Entry(project.pk, "email", "ada@example.org", "manual")])
    key = make_message(project, purpose="news")
    assert Event.objects.get(message_id=key, kind="suppressed").text == ""


def test_asking_costs_no_statement(project):
    counts = []
    for document in ({}, {"purpose": "news"}):
        make_message(project)  # what is kept in the process is fresh
        with CaptureQueriesContext(connection) as queries:
            make_message(project, **document)
        counts.append(len(queries))
        assert ("tracking_consent" in str(queries.captured_queries)) is bool(document)
    assert counts[0] == counts[1]


def test_what_waits_is_asked_again(api, project):
    account = project.accounts.get()
    key = make_message(project, purpose="news", scheduled_at=(datetime.now(UTC) + timedelta(minutes=5)).isoformat())
    other = make_message(project, scheduled_at=(datetime.now(UTC) + timedelta(minutes=5)).isoformat())
    withdraw(api)
    QueueRow.objects.update(due_at=datetime.now(UTC))
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=5)):
        handovers = dispatch.start(account.pk, 10)
    assert [handover.message_id for handover in handovers] == [other]
    assert (message(key).status, message(key).reason) == ("failed", "suppressed")
    assert Event.objects.get(message_id=key, kind="suppressed").text == REFUSAL


def test_what_was_withdrawn_a_moment_ago_is_not_handed_over(api, project):
    key, other = make_message(project, purpose="news"), make_message(project, purpose="offers")
    withdraw(api)
    handovers = dispatch.start(project.accounts.get().pk, 10)
    assert [handover.message_id for handover in handovers] == [other]
    assert (message(key).status, message(key).reason) == ("failed", "suppressed")


def test_copies_ask_too(api, project):
    withdraw(api, recipient="Bob@example.org")
    withdraw(api, recipient="cyd@example.org", purpose="offers")
    suppress.add([suppress.Entry(project.pk, "email", "eve@example.org", "manual")])
    copies = {"cc": ["Bob@example.org", "cyd@example.org"], "bcc": ["eve@example.org", "fay@example.org"]}
    for purpose, bob in (("news", ()), ("", ("Bob@example.org",))):
        key = make_message(project, purpose=purpose, **copies)
        (handover,) = dispatch.start(project.accounts.get().pk, 10)
        assert handover.outbound.cc == (*bob, "cyd@example.org") and handover.outbound.bcc == ("fay@example.org",)
        (said,) = Event.objects.filter(message_id=key, text__contains="no copy").values_list("text", flat=True)
        listed = "no copy went to eve@example.org: on the suppression list"
        assert said == (listed if bob else f"no copy went to bob@example.org: {REFUSAL}; {listed}")


def test_a_retry_by_hand_asks_too(api, project):
    withdraw(api)
    key = make_message(project, purpose="news")
    answer = api.client.post(f"/v1/notifications/{key}/retry", "{}", content_type="application/json")
    assert answer.status_code == 409 and REFUSAL in answer.json()["detail"]
    api.put({**ADA, "state": "granted"})
    assert api.client.post(f"/v1/notifications/{key}/retry", "{}", content_type="application/json").status_code == 202


def test_a_copy_keeps_purpose_and_wishes(api, project):
    document = {"purpose": "news", "tracking": {"opens": False}}
    key = make_message(project, **document)
    body = Content.objects.get(pk=key).body
    assert body["purpose"] == "news"
    assert body["tracking"] == {"opens": False, "clicks": True, "unsubscribe": True}


def test_an_erased_address_is_still_withdrawn(api, project):
    withdraw(api)
    Consent.objects.update(address="")
    assert message(make_message(project, purpose="news")).status == "failed"
    told = api.get(channel="email", recipient="ada@example.org").json()["consents"]
    assert told[0]["recipient"] is None
    assert consents.stopped(project.pk, []) == {}
