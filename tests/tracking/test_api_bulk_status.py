"""Asking for many statuses at once, by any kind of id."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.builders import make_account, make_key, make_message, make_project, sender_of
from tests.tracking.test_api_notifications import DOCUMENT, Api, end
from tracking import ids
from tracking.models import Message, Project
from tracking.services import bulk_status, submit

pytestmark = pytest.mark.django_db
SINCE = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def project() -> Project:
    project = make_project()
    make_account(project)
    Project.objects.filter(pk=project.pk).update(created_at=SINCE)
    return project


@pytest.fixture
def api(project: Project) -> Api:
    return Api(make_key(project))


def ask(api: Api, *asked: str) -> list[dict[str, Any]]:
    answer = api.post("notifications/bulk-status", {"notification_ids": list(asked)})
    assert answer.status_code == 200, answer.content
    statuses: list[dict[str, Any]] = answer.json()["statuses"]
    assert [entry["id"] for entry in statuses] == list(asked)
    return statuses


def test_every_kind_of_id_is_found_and_the_order_kept(api: Api, project: Project) -> None:
    ours = make_message(project)
    end(ours)
    external = make_message(project, external_id="order-7")
    provider = project.accounts.get().code
    followed = make_message(project, provider=provider, provider_message_id="<abc@mail.example>")

    found = ask(api, "<abc@mail.example>", "nothing", str(ours), "order-7", str(ours).upper(), ours.hex)
    assert [entry["status"] for entry in found] == ["sent", None, "failed", "pending", "failed", "failed"]
    assert [entry.get("notification_id") for entry in found] == [
        *(str(followed), None, str(ours), str(external), str(ours), str(ours))
    ]
    assert found[1] == {"id": "nothing", "status": None, "reason": "not_found"}
    assert found[2]["reason"] == "attempts_exhausted"
    assert found[2]["tracking"]["attempts"] == 1
    assert "matches" not in found[2]


def test_an_external_id_that_looks_like_ours(api: Api, project: Project) -> None:
    text = str(uuid4())
    key = make_message(project, external_id=text)
    assert ask(api, text)[0]["notification_id"] == str(key)
    other = str(ids.new())
    key = make_message(project, external_id=other)
    assert ask(api, other)[0]["notification_id"] == str(key)


def test_the_newest_of_several_is_told_and_how_many_there_are(api: Api, project: Project) -> None:
    keys = [make_message(project, external_id="twice") for _ in range(3)]
    (entry,) = ask(api, "twice")
    assert (entry["notification_id"], entry["matches"]) == (str(keys[-1]), 3)


def test_an_id_that_very_many_have_is_counted_to_a_bound(api: Api, project: Project) -> None:
    most = bulk_status.MATCHES
    submit.submit_batch(sender_of(project), {"notifications": [{**DOCUMENT, "external_id": "reused"}] * most})
    newest = make_message(project, external_id="reused")
    (entry,) = ask(api, "reused")
    assert (entry["notification_id"], entry["matches"]) == (str(newest), most)


def test_the_newest_with_a_providers_id_is_told(api: Api, project: Project) -> None:
    provider = project.accounts.get().code
    keys = [make_message(project, provider=provider, provider_message_id="same") for _ in range(3)]
    (entry,) = ask(api, "same")
    assert (entry["notification_id"], entry["matches"]) == (str(keys[-1]), 3)


def test_a_purged_message_is_told_from_one_that_never_was(api: Api) -> None:
    purged = str(ids.floor(SINCE + timedelta(days=100)))
    before_the_project = str(ids.floor(SINCE - timedelta(days=1)))
    recent, future = str(ids.new()), "ffffffff-ffff-7fff-8fff-ffffffffffff"
    reasons = [entry["reason"] for entry in ask(api, purged, before_the_project, recent, future, str(uuid4()))]
    assert reasons == ["purged", "not_found", "not_found", "not_found", "not_found"]


def test_another_projects_messages_are_not_found(api: Api) -> None:
    other = make_project()
    make_account(other)
    key = make_message(other, external_id="theirs")
    assert [entry["reason"] for entry in ask(api, str(key), "theirs")] == ["not_found", "not_found"]


def test_the_same_id_may_be_asked_twice(api: Api, project: Project) -> None:
    key = str(make_message(project))
    assert [entry["status"] for entry in ask(api, key, key)] == ["pending", "pending"]


def test_a_thousand_of_our_own_ids_are_one_query(project: Project) -> None:
    answer = submit.submit_batch(sender_of(project), {"notifications": [DOCUMENT] * 1000})
    keys = [str(each["id"]) for each in answer["notifications"]]
    random.Random(1).shuffle(keys)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found = bulk_status.statuses(project.pk, keys, since=SINCE)
    assert len(queries) == 1
    assert [str(entry["notification_id"]) for entry in found] == keys
    assert {entry["status"] for entry in found} == {"pending"}
    assert Message.objects.count() == 1000


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({}, "/notification_ids"),
        ({"notification_ids": []}, "/notification_ids"),
        ({"notification_ids": "x"}, "/notification_ids"),
        ({"notification_ids": ["x"] * 1001}, "/notification_ids"),
        ({"notification_ids": ["x", 7]}, "/notification_ids/1"),
        ({"notification_ids": [None]}, "/notification_ids/0"),
        ({"notification_ids": [""]}, "/notification_ids/0"),
        ({"notification_ids": ["x" * 301]}, "/notification_ids/0"),
        ({"notification_ids": ["a\0b"]}, "/notification_ids/0"),
        ({"notification_ids": ["x"], "more": 1}, "/more"),
        ([], ""),
        ("x", ""),
    ],
)
def test_a_wrong_question_names_its_field(api: Api, document: Any, pointer: str) -> None:
    answer = api.post("notifications/bulk-status", document)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_odd_ids_are_simply_not_found(api: Api) -> None:
    odd = [
        "urn:uuid:" + str(UUID(int=0)),
        "{" + str(UUID(int=1)) + "}",
        "%",
        "'; --",
        "é" * 100,
        "0" * 32,
        "-" * 36,
        "🎈",
    ]
    assert {entry["reason"] for entry in ask(api, *odd)} == {"not_found"}
