"""The API as its callers see it: answers, lists, timelines, actions, keys and scopes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import Client

from tests.builders import make_account, make_channel, make_key, make_message, make_project
from tracking import ids, store
from tracking.api import authentication
from tracking.models import ApiKey, Content, Event, Message, Project, QueueRow, Scope
from tracking.services import listing, route, suppress
from tracking.services.record import Record, Source
from tracking.statuses import Decision, Fact, FactKind

pytestmark = pytest.mark.django_db

DOCUMENT = {"channel": "email", "recipient": "ada@example.org", "subject": "Hi", "content": {"text": "Hello"}}


class Api:
    """A caller with a key."""

    def __init__(self, key: str) -> None:
        self.client = Client(headers={"Authorization": f"Bearer {key}"})

    def get(self, path: str, **params: Any) -> HttpResponse:
        return self.client.get(f"/v1/{path}", params)

    def post(self, path: str, document: Any = None, **headers: str) -> HttpResponse:
        body = json.dumps({} if document is None else document)
        return self.client.post(f"/v1/{path}", body, content_type="application/json", headers=headers)


@pytest.fixture
def project() -> Project:
    project = make_project()
    make_account(project)
    return project


@pytest.fixture
def api(project: Project) -> Api:
    return Api(make_key(project))


def end(message_id: UUID, kind: FactKind = FactKind.FAILED) -> None:
    """The message is handed over and ends at once."""
    work = Record([message_id])
    row = work.messages[message_id]
    attempt = work.start_attempt(row, account_id=row.account_id or 0, idempotency_key=f"{row.id}:0:0")
    work.add_fact(row, attempt, Fact(kind, work.now), key="result:1", source=Source("dispatch"))
    work.learn()
    if kind is FactKind.FAILED:
        work.decide(row, Decision.GIVE_UP, source=Source("dispatch"))
    work.save()
    QueueRow.objects.filter(pk=message_id).delete()


# --- handing in and looking up


def test_the_answer_has_the_published_shape(api: Api, project: Project) -> None:
    answer = api.post("notifications", DOCUMENT)
    assert answer.status_code == 202
    assert answer["Content-Type"] == "application/json"
    told = answer.json()
    assert told.keys() == {"id", "status", "reason", "channel", "external_id", "batch_id", "tracking"}
    assert told["status"] == "pending"
    assert told["tracking"] == {
        "created_at": ids.time_of(UUID(told["id"])).isoformat().replace("+00:00", "Z"),
        **dict.fromkeys(("sent_at", "delivered_at", "read_at", "provider_message_id")),
        "attempts": 0,
        "provider": project.accounts.get().code,
    }


def test_a_notification_is_shown_with_its_own_fields(api: Api) -> None:
    file = {"filename": "a.txt", "content_type": "text/plain", "content": "aGFsbG8="}
    fields = {"metadata": {"order": 7}, "tags": ["shop"], "category": "receipt", "attachments": [file], "priority": 3}
    key = api.post("notifications", {**DOCUMENT, **fields}).json()["id"]
    told = api.get(f"notifications/{key}").json()
    assert told["metadata"] == {"order": 7}
    assert (told["subject"], told["tags"], told["category"], told["priority"]) == ("Hi", ["shop"], "receipt", 3)
    assert told["attachments"] == [{"filename": "a.txt", "content_type": "text/plain", "bytes": 5}]
    assert told["content"] == {"text": "Hello"}

    Content.objects.all().delete()
    told = api.get(f"notifications/{key}").json()
    assert told["content_purged"] is True
    assert told["content"] is None


def test_the_timeline_tells_everything_in_order(api: Api, project: Project) -> None:
    key = UUID(api.post("notifications", DOCUMENT).json()["id"])
    end(key)
    api.post(f"notifications/{key}/retry")
    events = api.get(f"notifications/{key}/events").json()["events"]
    assert [(event["type"], event["kind"]) for event in events] == [
        ("decision", "queued"),
        ("attempt", "handed_over"),
        ("event", "failed"),
        ("decision", "gave_up"),
        ("decision", "operator_retry"),
    ]
    assert [event["source"] for event in events] == ["api", "dispatch", "dispatch", "dispatch", "api"]
    assert events[1]["provider"] == project.accounts.get().code
    assert "receipt_id" in events[0]
    without = Api(make_key(project, ["read"])).get(f"notifications/{key}/events").json()["events"]
    assert not any("receipt_id" in event for event in without)


def test_a_batch_is_counted(api: Api) -> None:
    recipients = [f"u{number}@example.org" for number in range(4)]
    document = {**{k: v for k, v in DOCUMENT.items() if k != "recipient"}, "recipients": recipients}
    told = api.post("notifications", document).json()
    assert api.get(f"batches/{told['batch_id']}").json()["delivery_rate"] is None

    keys = [UUID(each["id"]) for each in told["notifications"]]
    end(keys[0], FactKind.DELIVERED)
    end(keys[1], FactKind.FAILED)
    batch = api.get(f"batches/{told['batch_id']}").json()
    assert (batch["size"], batch["sent"], batch["delivered"], batch["delivery_rate"]) == (4, 2, 1, 0.5)
    assert {name: count for name, count in batch["statuses"].items() if count} == {
        **{"pending": 2, "delivered": 1, "failed": 1}
    }


def test_the_idempotency_key_gives_the_first_answer_again(api: Api) -> None:
    first = api.post("notifications", DOCUMENT, **{"Idempotency-Key": "k-1"})
    again = api.post("notifications", DOCUMENT, **{"Idempotency-Key": "k-1"})
    assert again.content == first.content
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    other = api.post("notifications", {**DOCUMENT, "subject": "Other"}, **{"Idempotency-Key": "k-1"})
    assert other.status_code == 422
    assert other.json()["type"] == "urn:postroom:idempotency-key-reused"
    assert api.post("notifications", DOCUMENT, **{"Idempotency-Key": "ä"}).status_code == 400
    assert Message.objects.count() == 1


# --- lists


def test_a_list_is_paged_in_the_order_of_ids(api: Api, project: Project) -> None:
    keys = [str(make_message(project)) for _ in range(7)]
    seen, cursor, pages = [], None, 0
    while True:
        page = api.get("notifications", limit=3, **({"cursor": cursor} if cursor else {})).json()
        seen += [each["id"] for each in page["notifications"]]
        pages, cursor = pages + 1, page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(keys, reverse=True)
    assert pages == 3


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "failed"}, {"b"}),
        ({"status": "read"}, set()),
        ({"channel": "sms"}, {"c"}),
        ({"provider": "texts"}, {"c"}),
        ({"provider": "nobody"}, set()),
        ({"recipient": "ben@EXAMPLE.org"}, {"b"}),
        ({"recipient": "+4915112345678"}, {"c"}),
        ({"external_id": "a"}, {"a"}),
        ({"category": "otp"}, {"b"}),
        ({"tag": "shop"}, {"a", "b"}),
        ({"tag": "shop", "category": "otp"}, {"b"}),
        ({"created_after": "2020-01-01T00:00:00Z"}, {"a", "b", "c"}),
        (
            {"created_after": "0001-01-01T00:00:00+14:00", "created_before": "9999-12-31T23:59:59-14:00"},
            {"a", "b", "c"},
        ),
        ({"created_before": "2020-01-01T00:00:00Z"}, set()),
    ],
)
def test_a_list_is_filtered(query: dict[str, str], found: set[str]) -> None:
    project = make_project()
    make_account(project, code="mails")
    make_account(project, code="texts", channel="sms")
    make_message(project, external_id="a", tags=["shop"])
    end(make_message(project, external_id="b", tags=["shop", "x"], category="otp", recipient="ben@example.org"))
    make_message(project, external_id="c", channel="sms", recipient="+49 151 12345678")
    make_account(other := make_project())
    make_message(other, external_id="a", tags=["shop"])

    answer = Api(make_key(project)).get("notifications", **query)
    assert {each["external_id"] for each in answer.json()["notifications"]} == found, answer.content


def test_a_list_by_batch(api: Api, project: Project) -> None:
    make_message(project)
    batch = api.post("notifications/batch", {"notifications": [DOCUMENT, DOCUMENT]}).json()["batch_id"]
    assert len(api.get("notifications", batch_id=batch).json()["notifications"]) == 2


def test_a_page_looks_through_a_bounded_number_of_messages(api: Api, project: Project, monkeypatch: Any) -> None:
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 10)
    rare = str(make_message(project, category="rare"))
    for _ in range(25):
        make_message(project)
    pages, cursor, seen = 0, None, []
    while pages == 0 or cursor:
        page = api.get("notifications", category="rare", **({"cursor": cursor} if cursor else {})).json()
        seen += [each["id"] for each in page["notifications"]]
        pages, cursor = pages + 1, page["next_cursor"]
    assert seen == [rare]
    assert pages == 3


@pytest.mark.parametrize(
    "query",
    [
        {"colour": "red"},
        {"status": "lost"},
        {"status": ["failed", "bounced"]},
        {"channel": "fax"},
        {"batch_id": "x"},
        {"batch_id": "1.5"},
        {"batch_id": "9" * 30},
        {"batch_id": "-1"},
        {"created_after": "yesterday"},
        {"created_before": "2020-13-01"},
        {"recipient": "a\0b"},
        {"tag": "\0"},
        {"category": "x" * 101},
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "many"},
        {"limit": "٣"},
        {"cursor": "x"},
        {"cursor": "é"},
        {"cursor": "A" * 300},
    ],
)
def test_a_query_that_cannot_be_read_names_its_parameter(api: Api, query: dict[str, Any]) -> None:
    answer = api.get("notifications", **query)
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["parameter"] == next(iter(query))


def test_all_that_is_wrong_with_a_query_is_named_at_once(api: Api) -> None:
    answer = api.get("notifications", limit="0", status="zzz", foo="1", cursor="!!", created_after="x")
    assert answer.status_code == 400
    named = {error["parameter"] for error in answer.json()["errors"]}
    assert named == {"limit", "status", "foo", "cursor", "created_after"}


# --- retry and cancel


@pytest.mark.parametrize("kind", [FactKind.FAILED, FactKind.BOUNCED, FactKind.OUTCOME_UNKNOWN])
def test_what_failed_can_be_sent_again(api: Api, project: Project, kind: FactKind) -> None:
    key = make_message(project)
    end(key, kind)
    answer = api.post(f"notifications/{key}/retry")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    row = QueueRow.objects.get(pk=key)
    assert row.due_at <= datetime.now(UTC)
    message = Message.objects.get(pk=key)
    assert (message.decision, message.budget_from, message.operator_retries) == ("operator_retry", 1, 1)
    assert api.post(f"notifications/{key}/retry").status_code == 409


def test_what_did_not_fail_is_not_sent_again(api: Api, project: Project) -> None:
    key = make_message(project)
    answer = api.post(f"notifications/{key}/retry")
    assert answer.status_code == 409
    assert "pending" in answer.json()["detail"]
    end(key, FactKind.DELIVERED)
    assert api.post(f"notifications/{key}/retry").status_code == 409
    assert not QueueRow.objects.exists()


def test_what_cannot_be_sent_is_not_sent_again(api: Api, project: Project) -> None:
    purged = make_message(project)
    end(purged)
    Content.objects.filter(pk=purged).delete()
    assert "purged" in api.post(f"notifications/{purged}/retry").json()["detail"]

    account = project.accounts.get()
    followed = make_message(project, content={}, provider=account.code, provider_message_id="r-1")
    work = Record([followed])
    row = work.messages[followed]
    work.add_fact(row, row.tries[0], Fact(FactKind.BOUNCED, work.now), key="b", source=Source("provider"))
    work.save()
    assert "elsewhere" in api.post(f"notifications/{followed}/retry").json()["detail"]

    suppress.add([suppress.Entry(project.pk, "email", "eve@example.org", "complaint")])
    suppressed = make_message(project, recipient="eve@example.org")
    assert "suppression" in api.post(f"notifications/{suppressed}/retry").json()["detail"]

    expiring = make_message(project, expires_at=(datetime.now(UTC) + timedelta(minutes=1)).isoformat())
    end(expiring)
    Message.objects.filter(pk=expiring).update(expires_at=datetime.now(UTC))
    assert "expired" in api.post(f"notifications/{expiring}/retry").json()["detail"]
    assert not QueueRow.objects.exists()
    assert not Event.objects.filter(kind="operator_retry").exists()


def test_a_message_that_is_being_sent_is_neither_retried_nor_cancelled(api: Api, project: Project) -> None:
    key = make_message(project)
    QueueRow.objects.update(lease_token=uuid4(), lease_until=datetime.now(UTC) + timedelta(minutes=1))
    assert api.post(f"notifications/{key}/cancel").status_code == 409

    work = Record([key])  # a receipt says that it failed, before the send's answer
    row = work.messages[key]
    attempt = work.start_attempt(row, account_id=row.account_id or 0, idempotency_key="k")
    work.add_fact(row, attempt, Fact(FactKind.FAILED, work.now), key="r", source=Source("provider"))
    work.learn()
    work.decide(row, Decision.GIVE_UP, source=Source("dispatch"))
    work.save()
    answer = api.post(f"notifications/{key}/retry")
    assert answer.status_code == 409
    assert Message.objects.get(pk=key).status == "failed"


def test_what_waits_can_be_cancelled(api: Api, project: Project) -> None:
    key = make_message(project, scheduled_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    answer = api.post(f"notifications/{key}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert not QueueRow.objects.exists()
    assert api.post(f"notifications/{key}/cancel").status_code == 409


def test_a_retry_goes_where_the_project_may_still_send(api: Api, project: Project) -> None:
    key = make_message(project)
    end(key)
    project.accounts.update(enabled=False)
    route.forget()
    assert api.post(f"notifications/{key}/retry").status_code == 409
    other = make_account(project)
    route.forget()
    assert api.post(f"notifications/{key}/retry").json()["tracking"]["provider"] == other.code
    assert QueueRow.objects.get(pk=key).account_id == other.pk


# --- what belongs to another project


def test_another_projects_message_answers_like_a_missing_one(api: Api) -> None:
    make_account(other := make_project())
    key = make_message(other)
    batch = Api(make_key(other)).post("notifications/batch", {"notifications": [DOCUMENT]}).json()["batch_id"]
    missing = ids.new()
    pairs = [
        *((f"notifications/{key}{tail}", f"notifications/{missing}{tail}") for tail in ("", "/events")),
        (f"batches/{batch}", "batches/999999999"),
    ]
    for foreign, none in pairs:
        theirs, nothing = api.get(foreign), api.get(none)
        assert (theirs.status_code, theirs.content) == (404, nothing.content)
        assert nothing.status_code == 404
    for action in ("retry", "cancel"):
        theirs, nothing = api.post(f"notifications/{key}/{action}"), api.post(f"notifications/{missing}/{action}")
        assert (theirs.status_code, theirs.content) == (404, nothing.content)
        assert nothing.status_code == 404
    assert QueueRow.objects.filter(pk=key).exists()


@pytest.mark.parametrize(
    "path",
    [
        *("notifications/x", "notifications/%00", "notifications/ffffffff-ffff-7fff-8fff-ffffffffffff"),
        *("notifications/00000000-0000-0000-0000-000000000000/events", "batches/x", "batches/" + "9" * 40),
        *("batches/-1", "batches/%D9%A3", "nowhere", "notifications/", "notifications/x/y/z"),
    ],
)
def test_an_address_of_nothing(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404, answer.content
    assert answer["Content-Type"] == "application/problem+json"


# --- keys and scopes


def test_both_headers_carry_a_key(project: Project) -> None:
    key = make_key(project)
    for headers in ({"Authorization": f"Bearer {key}"}, {"Authorization": f"bearer {key}"}, {"X-API-Key": key}):
        assert Client().get("/v1/notifications", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        *({}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Basic YTpi"}, {"X-API-Key": ""}),
        *({"X-API-Key": "pr_"}, {"X-API-Key": "pr_abcdefghij_x"}, {"Authorization": "Bearer pr_\xe9_\xff"}),
        {"Authorization": "Bearer pr_" + "a" * 5000},
    ],
)
def test_without_a_valid_key_nothing_is_answered(headers: dict[str, str]) -> None:
    for answer in (
        Client().get("/v1/notifications", headers=headers),
        Client().post("/v1/notifications", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert answer["Content-Type"] == "application/problem+json"


def test_the_prefix_alone_opens_nothing(project: Project) -> None:
    key = make_key(project)
    for wrong in (key[:-1], key + "x", key[:-1] + ("a" if key[-1] != "a" else "b"), key.upper()):
        assert Client().get("/v1/notifications", headers={"X-API-Key": wrong}).status_code == 401


def test_a_revoked_key_is_refused_within_seconds(api: Api, monkeypatch: Any) -> None:
    assert api.get("notifications").status_code == 200
    ApiKey.objects.update(revoked=True)
    assert authentication.KEPT <= 5
    authentication.forget()
    assert api.get("notifications").status_code == 401


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("send", {"POST notifications", "POST notifications/batch", "POST retry", "POST cancel"}),
        ("read", {"GET notifications", "GET one", "GET events", "GET batch", "POST notifications/bulk-status"}),
        ("receipts", set()),
        ("manage", set()),
    ],
)
def test_each_scope_opens_its_own_doors(project: Project, scope: str, allowed: set[str]) -> None:
    api = Api(make_key(project, [scope]))
    key = make_message(project)
    doors = {
        "GET notifications": api.get("notifications"),
        "GET one": api.get(f"notifications/{key}"),
        "GET events": api.get(f"notifications/{key}/events"),
        "GET batch": api.get("batches/1"),
        "POST notifications": api.post("notifications", DOCUMENT),
        "POST notifications/batch": api.post("notifications/batch", {"notifications": [DOCUMENT]}),
        "POST notifications/bulk-status": api.post("notifications/bulk-status", {"notification_ids": ["x"]}),
        "POST retry": api.post(f"notifications/{key}/retry"),
        "POST cancel": api.post(f"notifications/{key}/cancel"),
    }
    assert {door for door, answer in doors.items() if answer.status_code != 403} == allowed
    refused = next(answer for door, answer in doors.items() if door not in allowed)
    assert refused.json()["type"] == "urn:postroom:missing-scope"
    assert "scope" in refused.json()["detail"]


def test_the_command_makes_a_project_and_prints_a_key(capsys: Any) -> None:
    call_command("create_api_key", "--project", "shop", "--name", "web", "--scopes", "send", "read")
    printed = capsys.readouterr().out
    key = printed.strip()
    assert printed == f"{key}\n"
    row = ApiKey.objects.get()
    assert (row.project.code, row.name, row.scopes) == ("shop", "web", ["read", "send"])
    assert key.split("_")[1] == row.prefix
    assert key.encode() not in bytes(row.hashed)
    assert Client().get("/v1/notifications", headers={"X-API-Key": key}).status_code == 200

    call_command("create_api_key", "--project", "shop", "--name", "all")
    assert ApiKey.objects.get(name="all").scopes == ["manage", "read", "receipts", "send"]
    assert Project.objects.count() == 1
    with pytest.raises(CommandError, match="unknown scopes: everything"):
        call_command("create_api_key", "--project", "new", "--name", "x", "--scopes", "everything")
    with pytest.raises(CommandError, match="--project: "):
        call_command("create_api_key", "--project", "not a code", "--name", "x")
    with pytest.raises(CommandError, match="--rate-limit: "):
        call_command("create_api_key", "--project", "new", "--name", "x", "--rate-limit", "-1")
    assert Project.objects.count() == 1


def test_a_lost_race_for_the_queue_row_changes_nothing(api: Api, project: Project) -> None:
    key = make_message(project)
    end(key)
    store.add_to_queue(
        {
            **{"message_id": key, "project_id": project.pk, "account_id": 1, "priority": 5},
            **{"due_at": datetime.now(UTC), "expires_at": None},
        }
    )
    assert api.post(f"notifications/{key}/retry").status_code == 409
    assert Message.objects.get(pk=key).status == "failed"


@pytest.mark.parametrize(
    "path",
    [
        *("notifications", "channels", "channels/room-1/members", "devices", "exports", "consents"),
        *("analytics/delivery-metrics", "analytics/providers", "analytics/performance"),
    ],
)
def test_a_parameter_that_comes_twice_is_an_error(project: Project, path: str) -> None:
    """All but the last were ignored."""
    make_channel(project, key="room-1")
    caller = Api(make_key(project, scopes=[scope.value for scope in Scope]))
    answer = caller.get(path, limit=["1", "2"])
    assert answer.status_code == 400
    assert {"parameter": "limit", "detail": "may be given only once"} in answer.json()["errors"]
