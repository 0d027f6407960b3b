"""/v1/channels and /v1/notifications/{id}/receipts: members, messages, markers; and everything that must be refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_account, make_channel, make_channel_message, make_key, make_message, make_project
from tracking.models import (
    ChannelMessage,
    ChannelSettings,
    ChatChannel,
    ChatMember,
    ChatUser,
    Event,
    Message,
    QueueRow,
)
from tracking.services import channel_receipts, channels, chat_inbox, markers, members

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def client(project) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_key(project)}"})


def call(client: Client, method: str, path: str, document: Any = None) -> Any:
    body = {} if method == "get" else {"data": "", "content_type": "application/json"}
    if document is not None:
        body["data"] = json.dumps(document)
    return getattr(client, method)(f"/v1/{path}", **body)


def receipt(client: Client, message: Any, user: str, status: str) -> Any:
    return call(client, "post", f"notifications/{message}/receipts", {"user_id": user, "status": status})


def users(client: Client, message: Any, kind: str, query: str = "") -> list[str]:
    found = call(client, "get", f"notifications/{message}/receipts/{kind}{query}").json()
    return [each["user_id"] for each in found["users"]]


# --- channels and members


def test_a_channel_is_made_read_renamed_and_closed(client, project):
    made = call(client, "post", "channels", {"id": "room-1", "name": "Room", "type": "conversation"})
    assert made.status_code == 201 and made.json()["last_segment"] == 0
    assert call(client, "get", "channels/room-1").json()["type"] == "conversation"
    assert call(client, "patch", "channels/room-1", {"name": "Hall"}).json()["name"] == "Hall"
    again = call(client, "post", "channels", {"id": "room-1"})
    assert again.status_code == 409
    assert [each["id"] for each in call(client, "get", "channels").json()["channels"]] == ["room-1"]
    assert call(client, "delete", "channels/room-1").status_code == 204
    assert call(client, "get", "channels/room-1").status_code == 404
    assert call(client, "get", "channels").json()["channels"] == []
    assert call(client, "post", "channels", {"id": "room-1"}).status_code == 201  # the id is free again
    assert ChatChannel.objects.count() == 2


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({}, "/id"),
        ({"id": "a/b"}, "/id"),
        ({"id": "a\n"}, "/id"),
        ({"id": "x" * 101}, "/id"),
        ({"id": "x", "type": "party"}, "/type"),
        ({"id": "x", "name": "a\0b"}, "/name"),
        ({"id": "x", "colour": 1}, "/colour"),
        ([], ""),
    ],
)
def test_a_bad_channel_is_refused_by_its_field(client, document, pointer):
    response = call(client, "post", "channels", document)
    assert response.status_code == 422
    assert pointer in [error["pointer"] for error in response.json()["errors"]]
    assert not ChatChannel.objects.exists()


def test_members_come_change_and_leave(client, project):
    make_channel(project, key="room", users=[])
    put = {"members": [{"user_id": "ben"}, {"user_id": "ada", "display_name": "Ada"}]}
    added = call(client, "post", "channels/room/members", put)
    assert added.status_code == 201 and {each["user_id"] for each in added.json()["members"]} == {"ada", "ben"}
    assert call(client, "get", "channels/room/members/ada").json()["display_name"] == "Ada"
    changed = call(client, "put", "channels/room/members/ada", {"membership": "muted"})
    assert changed.json() == {**changed.json(), "membership": "muted", "display_name": "Ada"}
    assert call(client, "put", "channels/room/members/new", {"membership": "member"}).status_code == 200
    assert call(client, "delete", "channels/room/members/ben").status_code == 204
    assert call(client, "get", "channels/room/members/ben").json()["membership"] == "non-member"
    listed = call(client, "get", "channels/room/members?memberships=member,muted").json()["members"]
    assert {each["user_id"] for each in listed} == {"ada", "new"}
    assert call(client, "get", "channels/room/members/nobody").status_code == 404
    assert call(client, "delete", "channels/room/members/nobody").status_code == 404


@pytest.mark.parametrize(
    "put",
    [
        {"members": []},
        {"members": [{"user_id": ""}]},
        {"members": [{"user_id": "a/b"}]},
        {"members": [{"user_id": "a"}, {"user_id": "a"}]},
        {"members": [{"user_id": "a", "membership": "king"}]},
        {"members": [{"user_id": f"u{number}"} for number in range(1001)]},
    ],
)
def test_bad_members_are_refused_and_none_is_stored(client, project, put):
    make_channel(project, key="room", users=[])
    assert call(client, "post", "channels/room/members", put).status_code == 422
    assert not ChatMember.objects.exists()


def test_lists_go_page_by_page_through_every_member_once(client, project):
    make_channel(project, key="room", users=[f"u{number}" for number in range(7)])
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        found = call(client, "get", f"channels/room/members?limit=3{cursor and f'&cursor={cursor}'}").json()
        seen += [each["user_id"] for each in found["members"]]
        cursor = found["next_cursor"]
    assert sorted(seen) == [f"u{number}" for number in range(7)]


@pytest.mark.parametrize(
    "query", ["cursor=x", "cursor=%00", "cursor=MS4y", "limit=0", "limit=x", "memberships=king", "a=1"]
)
def test_a_bad_query_is_refused(client, project, query):
    make_channel(project, key="room")
    assert call(client, "get", f"channels/room/members?{query}").status_code == 400


@pytest.mark.parametrize("user", ["nobody", "of-another"])
def test_who_is_not_in_the_channel_is_named(client, project, user):
    channel = make_channel(project, key="room", users=["ada"])
    make_channel(project, key="other", users=["of-another"])
    message = make_channel_message(channel).pk
    for response in (
        call(client, "post", "channels/room/messages", {"user_id": user, "content": {"text": "x"}}),
        receipt(client, message, user, "read"),
    ):
        assert response.status_code == 422
        assert [error["pointer"] for error in response.json()["errors"]] == ["/user_id"]


@pytest.mark.parametrize("user", ["%07", "%20", "x" * 201])
def test_a_user_in_an_address_who_cannot_be_one_is_named(client, project, user):
    make_channel(project, key="room")
    for method, path in (("put", f"channels/room/members/{user}"), ("post", f"chat-users/{user}/token")):
        response = call(client, method, path, {"membership": "member"})
        assert response.status_code == 422
        assert [error["pointer"] for error in response.json()["errors"]] == ["/user_id"]


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_committed_late_is_not_missed(project):
    """A device asks for what changed while a message is being posted that is older than the newest one."""
    slow, quick = (make_channel(project, users=["ben"]) for _ in range(2))
    ben, since = ChatUser.objects.get(), datetime.now(UTC)

    def meanwhile() -> chat_inbox.Changes:
        make_channel_message(quick)
        found = chat_inbox.changed_since(ben, since)
        connection.close()
        return found

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        make_channel_message(slow)
        first = pool.submit(meanwhile).result(20)
    assert [member.channel for member in first.members] == [quick]
    then = chat_inbox.changed_since(ben, first.until)
    assert slow in [member.channel for member in then.members]


# --- messages


def test_a_message_to_a_channel_is_one_message(client, project):
    make_channel(project, key="room", users=["ada", "ben", "cleo"])
    answer = call(client, "post", "channels/room/messages", {"user_id": "ada", "content": {"text": "Hello all"}})
    assert answer.status_code == 202
    said = answer.json()
    assert (said["status"], said["channel"], said["segment"]) == ("sent", "chat", 1)
    message = Message.objects.get()
    assert (str(message.pk), message.recipient, message.status) == (said["id"], "channel:room", "sent")
    assert not QueueRow.objects.exists()  # it stands in the channel: there is nothing to hand over
    listed = call(client, "get", "channels/room/messages").json()["messages"]
    assert [(each["id"], each["user_id"], each["content"]) for each in listed] == [
        (said["id"], "ada", {"text": "Hello all"})
    ]


def test_segments_count_up_and_pages_go_back(client, project):
    channel = make_channel(project, key="room")
    posted = [make_channel_message(channel) for _ in range(5)]
    assert [place.segment for place in posted] == [1, 2, 3, 4, 5]
    first = call(client, "get", "channels/room/messages?limit=3").json()
    second = call(client, "get", f"channels/room/messages?limit=3&cursor={first['next_cursor']}").json()
    assert [each["segment"] for each in first["messages"] + second["messages"]] == [5, 4, 3, 2, 1]
    assert second["next_cursor"] is None


def test_the_same_idempotency_key_is_the_same_message(client, project):
    make_channel(project, key="room", users=["ada"])
    document = json.dumps({"user_id": "ada", "content": {"text": "once"}})
    url, kind = "/v1/channels/room/messages", "application/json"
    twice = [client.post(url, document, kind, headers={"Idempotency-Key": "k"}).json() for _ in range(2)]
    assert twice[0]["id"] == twice[1]["id"] and twice[0]["segment"] == twice[1]["segment"] == 1
    assert ChatChannel.objects.get().last_segment == 1


@pytest.mark.parametrize("membership", ["banned", "muted", "non-member", "deleted"])
def test_only_a_member_posts(client, project, membership):
    channel = make_channel(project, key="room", users=["ada"])
    members.change(channel, "ada", {"membership": membership})
    response = call(client, "post", "channels/room/messages", {"user_id": "ada", "content": {"text": "x"}})
    assert response.status_code == 409 and membership in response.json()["detail"]
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "document", [{}, {"content": {}}, {"content": {"text": 1}}, {"content": {"text": "x"}, "user_id": ""}]
)
def test_a_bad_message_is_refused_and_takes_no_segment(client, project, document):
    make_channel(project, key="room", users=["ada"])
    assert call(client, "post", "channels/room/messages", document).status_code == 422
    assert ChatChannel.objects.get().last_segment == 0


# --- markers


def test_delivered_is_a_watermark(client, project):
    channel = make_channel(project, key="room", users=["ada", "ben"])
    one, two, three = (make_channel_message(channel, user="ada").pk for _ in range(3))
    answer = receipt(client, two, "ben", "delivered")
    assert answer.status_code == 200
    assert (answer.json()["delivered_to_segment"], answer.json()["read_to_segment"]) == (2, 0)
    assert [users(client, each, "delivered") for each in (one, two, three)] == [["ben"], ["ben"], []]
    receipt(client, one, "ben", "delivered")  # late: nothing goes back
    assert users(client, two, "delivered") == ["ben"]
    assert [Message.objects.get(pk=each).status for each in (one, two, three)] == ["delivered", "delivered", "sent"]


def test_read_implies_delivered(client, project):
    channel = make_channel(project, key="room", users=["ada", "ben"])
    message = make_channel_message(channel, user="ada").pk
    receipt(client, message, "ben", "read")
    assert users(client, message, "delivered") == users(client, message, "read") == ["ben"]
    found = call(client, "get", f"notifications/{message}/receipts").json()
    assert (found["delivered"], found["read"]) == (1, 1)
    row = Message.objects.get()
    assert row.status == "read" and row.delivered_at and row.read_at


def test_the_sender_is_no_recipient(client, project):
    channel = make_channel(project, key="room", users=["ada", "ben"])
    message = make_channel_message(channel, user="ada").pk
    receipt(client, message, "ada", "read")
    assert users(client, message, "read") == []
    assert call(client, "get", f"notifications/{message}/receipts").json()["read"] == 0
    assert Message.objects.get().status == "sent"
    other = make_channel_message(channel, user="ben").pk
    receipt(client, other, "ada", "read")
    assert Message.objects.get(pk=other).status == "read"


def test_an_own_message_is_read_unless_something_before_it_is_not(project):
    channel = make_channel(project, users=["ada", "ben"])
    make_channel_message(channel, user="ada")
    ada, ben = (ChatMember.objects.get(user__user_id=each) for each in ("ada", "ben"))
    assert (ada.read_to_segment, ben.read_to_segment) == (1, 0)
    make_channel_message(channel, user="ben")
    ben.refresh_from_db()
    assert ben.read_to_segment == 0  # the first message is still unread


def test_the_first_facts_of_a_message_are_recorded_once(client, project):
    channel = make_channel(project, users=["ada", "ben", "cleo"])
    message = make_channel_message(channel, user="ada").pk
    for user in ("ben", "cleo", "ben"):
        receipt(client, message, user, "read")
    kinds = list(Event.objects.filter(message_id=message, number=None).values_list("kind", flat=True))
    assert sorted(kinds) == ["accepted", "delivered", "read"]


def test_many_receipts_at_once(client, project):
    channel = make_channel(project, key="room", users=["ada", "ben", "cleo"])
    first, second = (make_channel_message(channel).pk for _ in range(2))
    document = {
        "receipts": [
            {"user_id": "ada", "status": "delivered", "notification_id": str(first)},
            {"user_id": "ben", "status": "read", "segment": 1},
            {"user_id": "ben", "status": "delivered", "notification_id": str(second)},
            {"user_id": "cleo", "status": "read", "segment": 99},
        ]
    }
    answer = call(client, "post", "channels/room/receipts", document)
    found = {
        each["user_id"]: (each["delivered_to_segment"], each["read_to_segment"]) for each in answer.json()["markers"]
    }
    assert found == {"ada": (1, 0), "ben": (2, 1), "cleo": (2, 2)}  # never beyond the newest message
    assert users(client, second, "delivered") == ["ben", "cleo"]


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"user_id": "nobody", "status": "read", "segment": 1}, "/receipts/1/user_id"),
        ({"user_id": "gone", "status": "read", "segment": 1}, "/receipts/1/user_id"),
        ({"user_id": "ada", "status": "read", "notification_id": str(uuid4())}, "/receipts/1/notification_id"),
        ({"user_id": "ada", "status": "read", "notification_id": "x"}, "/receipts/1/notification_id"),
        ({"user_id": "ada", "status": "read"}, "/receipts/1/notification_id"),
        ({"user_id": "ada", "status": "seen", "segment": 1}, "/receipts/1/status"),
        ({"user_id": "ada", "status": "read", "segment": 0}, "/receipts/1/segment"),
        ({"user_id": "ada", "status": "read", "segment": 2**63}, "/receipts/1/segment"),
    ],
)
def test_one_wrong_receipt_and_none_is_taken(client, project, wrong, pointer):
    channel = make_channel(project, key="room", users=["ada", "gone"])
    members.leave(channel, "gone")
    make_channel_message(channel)
    right = {"user_id": "ada", "status": "read", "segment": 1}
    response = call(client, "post", "channels/room/receipts", {"receipts": [right, wrong]})
    assert response.status_code == 422 and response.json()["errors"][0]["pointer"] == pointer
    assert ChatMember.objects.get(user__user_id="ada").read_to_segment == 0


def test_what_one_mark_leaves_goes_on_later(project, monkeypatch):
    monkeypatch.setattr(markers, "SLICE", 2)
    channel = make_channel(project, users=["ada", "ben"])
    for _ in range(5):
        make_channel_message(channel, user="ada")
    ben = ChatMember.objects.get(user__user_id="ben")
    moved = markers.mark(channel, {ben.pk: markers.Reach(5, 5)})
    assert moved.more and ChannelMessage.objects.filter(read=True).count() == 2
    while markers.record([ben.pk]):
        pass
    assert set(Message.objects.values_list("status", flat=True)) == {"read"}
    ben.refresh_from_db()
    assert (ben.delivered_recorded, ben.read_recorded) == (5, 5)


# --- who got it, who read it


def test_filter_by_membership_and_pages(client, project):
    channel = make_channel(project, key="room", users=[f"u{number}" for number in range(6)])
    message = make_channel_message(channel).pk
    for number in range(6):
        receipt(client, message, f"u{number}", "delivered")
    for user, membership in (("u0", "banned"), ("u1", "muted"), ("u2", "non-member"), ("u3", "deleted")):
        members.change(channel, user, {"membership": membership})
    assert users(client, message, "delivered", "?memberships=banned") == ["u0"]
    assert users(client, message, "delivered", "?memberships=member,non-member") == ["u2", "u4", "u5"]
    count = call(client, "get", f"notifications/{message}/receipts?memberships=member").json()
    assert count["delivered"] == 2
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = f"?limit=4{cursor and f'&cursor={cursor}'}"
        found = call(client, "get", f"notifications/{message}/receipts/delivered{query}").json()
        seen += [each["user_id"] for each in found["users"]]
        cursor = found["next_cursor"]
    assert sorted(seen) == [f"u{number}" for number in range(6)]


def test_receipts_of_many_messages_are_counted_in_one_pass(project):
    channel = make_channel(project, users=["ada", "ben", "cleo"])
    places = [make_channel_message(channel, user="ada") for _ in range(4)]
    ben, cleo = (ChatMember.objects.get(user__user_id=each).pk for each in ("ben", "cleo"))
    markers.mark(channel, {ben: markers.Reach(2, 1), cleo: markers.Reach(4, 3)})
    with CaptureQueriesContext(connection) as queries:
        found = channel_receipts.counts(places)
    assert [tuple(found[place.pk]) for place in places] == [(2, 2), (2, 1), (1, 1), (1, 0)]
    assert len(queries) == 4


def test_a_user_who_hides_receipts_is_in_no_list_count_or_status(client, project):
    channel = make_channel(project, users=["ada", "ben"])
    message = make_channel_message(channel, user="ada").pk
    assert call(client, "patch", "chat-users/ben", {"receipts_hidden": True}).json()["receipts_hidden"] is True
    receipt(client, message, "ben", "read")
    assert users(client, message, "read") == []
    assert call(client, "get", f"notifications/{message}/receipts").json()["delivered"] == 0
    assert Message.objects.get().status == "sent"
    members.add(make_channel(project, users=[]), {"members": [{"user_id": "ben"}]})
    assert set(ChatMember.objects.filter(user__user_id="ben").values_list("hidden", flat=True)) == {True}


@pytest.mark.django_db(transaction=True)
def test_who_hides_receipts_while_they_are_put_into_a_channel_is_hidden_there(project):
    room = make_channel(project, users=[])

    make_channel(project, users=["ben"])

    def hide() -> None:
        channels.change_user(project_id=project.pk, user_id="ben", document={"receipts_hidden": True})
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            members.add(room, {"members": [{"user_id": "ben"}]})
            hidden = pool.submit(hide)
            wait([hidden], timeout=1)  # for this transaction
        hidden.result(20)
    assert ChatMember.objects.get(channel=room).hidden


def test_a_project_that_hides_receipts_tells_nobody(client, project):
    channel = make_channel(project, users=["ada", "ben"])
    message = make_channel_message(channel, user="ada").pk
    receipt(client, message, "ben", "read")
    ChannelSettings.objects.create(project=project, receipts_hidden=True)
    for path in ("receipts", "receipts/read", "receipts/delivered"):
        response = call(client, "get", f"notifications/{message}/{path}")
        assert response.status_code == 403 and response.json()["type"] == "urn:postroom:receipts-hidden"


# --- who may ask


def test_each_address_has_its_scope(project):
    channel = make_channel(project, key="room", users=["ada"])
    message = make_channel_message(channel).pk
    needed = {
        ("get", "channels"): "read",
        ("post", "channels"): "manage",
        ("patch", "channels/room"): "manage",
        ("get", "channels/room/members"): "read",
        ("post", "channels/room/members"): "manage",
        ("put", "channels/room/members/ada"): "manage",
        ("delete", "channels/room/members/ada"): "manage",
        ("get", "channels/room/messages"): "read",
        ("post", "channels/room/messages"): "send",
        ("post", "channels/room/receipts"): "receipts",
        ("get", f"notifications/{message}/receipts"): "receipts",
        ("post", f"notifications/{message}/receipts"): "receipts",
        ("get", f"notifications/{message}/receipts/read"): "receipts",
        ("patch", "chat-users/ada"): "manage",
        ("post", "chat-users/ada/token"): "manage",
    }
    scopes = ("send", "read", "receipts", "manage")
    for (method, path), scope in needed.items():
        with_it = Client(headers={"X-API-Key": make_key(project, [scope])})
        without = Client(headers={"X-API-Key": make_key(project, [each for each in scopes if each != scope])})
        body = None if method == "get" else {}
        assert call(without, method, path, body).status_code == 403, (method, path)
        assert call(with_it, method, path, body).status_code != 403, (method, path)


def test_another_projects_channel_does_not_exist(project):
    channel = make_channel(project, key="room", users=["ada"])
    message = make_channel_message(channel).pk
    stranger = Client(headers={"X-API-Key": make_key(make_project())})
    for path in (
        "channels/room",
        "channels/room/members",
        "channels/room/messages",
        f"notifications/{message}/receipts",
    ):
        assert call(stranger, "get", path).status_code == 404, path
    assert receipt(stranger, message, "ada", "read").status_code == 404
    assert call(stranger, "get", "chat-users/ada").status_code == 404


@pytest.mark.parametrize("key", ["x", "0192f3a4-0000-7000-8000-000000000000", "%00", "1" * 50])
def test_receipts_of_what_is_no_message(client, key):
    assert call(client, "get", f"notifications/{key}/receipts").status_code == 404
    assert receipt(client, key, "ada", "read").status_code == 404


def test_receipts_of_a_message_that_went_to_no_channel(client, project):
    make_account(project)
    assert call(client, "get", f"notifications/{make_message(project)}/receipts").status_code == 404
    channel = make_channel(project)
    assert call(client, "get", f"notifications/{make_channel_message(channel).pk}/receipts/seen").status_code == 404


def test_nothing_is_ever_routed_to_the_account_of_channels(client, project):
    make_channel(project)
    assert channels.ACCOUNT in [account.code for account in project.accounts.all()]
    response = call(client, "post", "notifications", {"channel": "chat", "recipient": "x", "content": {"text": "x"}})
    assert response.status_code == 422 and not Message.objects.exists()


def test_budget_of_queries_of_a_mark_and_of_a_page(client, project):
    channel = make_channel(project, users=[f"u{number}" for number in range(30)])
    message = make_channel_message(channel).pk
    receipt(client, message, "u0", "read")
    with CaptureQueriesContext(connection) as queries:
        receipt(client, message, "u1", "read")
    assert len(queries) <= 12
    with CaptureQueriesContext(connection) as queries:
        users(client, message, "delivered")
    assert len(queries) <= 4
