"""social.plus' “Message Delivery Status”, line by line: its wire, and its own SDK against a live server.

Each test names the line of the document that it shows. What is not in the document (the addresses and their bodies) is
as the vendor's TypeScript SDK asks for it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_channel, make_channel_message, make_key, make_project
from tests.seeds.live import DOCUMENTS, ROOT, Live
from tests.seeds.reading import NOTHING, read_whole
from tracking.api import authentication
from tracking.models import ApiKey, ChannelSettings, ChatChannel, ChatMember, ChatUser, Message, Project
from tracking.services import channels, chat_inbox, members, rollup

SDK = "@amityco/ts-sdk@6.35.3"
CACHE = ROOT / ".seeds" / "socialplus"
FEEDS = "/api/v1/markers/message-feeds/room"


@pytest.fixture
def project(db) -> Project:
    authentication.forget()
    found = make_project()
    make_channel(found, key="room", users=["ada", "ben", "cleo"])
    return found


def log_in(project: Project, user: str, *, key: str = "", **body: Any) -> Client:
    """As the SDK does it: the key in X-API-Key, then the session's token as a bearer."""
    answer = sessions(key or make_key(project), {"userId": user, "deviceId": "d", **body})
    assert answer.status_code == 200, answer.content
    return Client(headers={"Authorization": f"Bearer {answer.json()['accessToken']}"})


def sessions(key: str, body: Any) -> Any:
    return Client().post("/api/v5/sessions", json.dumps(body), "application/json", headers={"X-API-Key": key})


def put(client: Client, path: str, body: Any = None, method: str = "put") -> Any:
    return getattr(client, method)(path, "" if body is None else json.dumps(body), content_type="application/json")


def token(**values: Any) -> str:
    return base64.b64encode(json.dumps(values).encode()).decode()


def posted(project: Project, user: str | None = "ada", count: int = 1) -> list[str]:
    channel = project.chatchannel_set.get(key="room")
    return [str(make_channel_message(channel, user=user).pk) for _ in range(count)]


def receivers(client: Client, message: str, kind: str = "delivered", query: str = "") -> list[str]:
    return client.get(f"/api/v1/markers/messages/{message}/{kind}-users{query}").json()["publicUserIds"]


# --- channels, and words


def test_all_channels_of_a_user_page_by_page(project):
    for number in range(4):
        make_channel(project, key=f"room-{number}", users=["ada"])
    make_channel(project, key="of-others", users=["ben"])
    ada, seen, query = log_in(project, "ada"), [], "?options[limit]=2"
    for _ in range(3):
        found = ada.get(f"/api/v3/channels{query}").json()
        seen += [each["channelId"] for each in found["channels"]]
        query = f"?options[token]={quote(found['paging'].get('next', ''))}"
    assert (seen, query) == (["room", *(f"room-{number}" for number in range(4))], "?options[token]=")
    named = ada.get("/api/v3/channels?channelIds[]=room-3&channelIds[]=of-others&options[limit]=1").json()
    assert ([each["channelId"] for each in named["channels"]], named["paging"]) == (["room-3"], {})


@pytest.mark.parametrize("path", ["channels", "user-message-feed", "message-feeds"])
def test_all_markers_of_a_user_page_by_page(project, path):
    """A hundred in an answer, and none beyond reach."""
    wanted = ["room", *(f"room-{number}" for number in range(249))]
    for key in wanted[1:]:
        make_channel(project, key=key, users=["ada"])
    make_channel(project, key="of-others", users=["ben"])
    ada, query = log_in(project, "ada"), ""
    pages: dict[str, list[list[str]]] = {"userEntityMarkers": [], "userFeedMarkers": [], "feedMarkers": []}
    for _ in range(3):
        found = ada.get(f"/api/v1/markers/{path}{query}").json()
        for name, seen in pages.items():
            seen.append([each["entityId"] for each in found[name]])
        query = f"?options[token]={quote(found['paging'].get('next', ''))}"
    assert query == "?options[token]="
    for seen in pages.values():
        assert [len(page) for page in seen] == [100, 100, 50] and sum(seen, []) == wanted
    few = ada.get(f"/api/v1/markers/{path}?options[limit]=2").json()
    assert len(few["feedMarkers"]) == 2 and few["paging"]["next"]
    assert ada.get(f"/api/v1/markers/{path}?options[token]=x").json()["code"] == 400000


@pytest.mark.parametrize("query", ["options[limit]=0", "options[limit]=x", "options[token]=x"])
def test_pages_of_channels_that_are_none(project, query):
    assert log_in(project, "ada").get(f"/api/v3/channels?{query}").json()["code"] == 400000


@pytest.mark.parametrize("after", [-1, "x", 2**63, True, [1]])
def test_places_among_channels_that_are_none(project, after):
    answer = log_in(project, "ada").get("/api/v3/channels", {"options[token]": token(after=after)})
    assert (answer.status_code, answer.json()["code"]) == (400, 400000)


def test_errors_speak_of_the_vendor_s_fields(project):
    key = make_key(project)
    assert "userId: " in sessions(key, {"userId": "a/b"}).json()["message"]
    ada, document = log_in(project, "ada", key=key), {"messageFeedId": "room", "dataType": "text"}
    for wrong, name in (
        ({"data": {"text": "x"}, "referenceId": "a\nb"}, "referenceId"),
        ({"data": {"text": 1}}, "data/text"),
        ({"data": {}}, "data"),
        ({"data": {"text": "x"}, "tags": [""]}, "tags/0"),
        ({"dataType": "custom", "data": {"a": "\0"}}, "data"),
    ):
        answer = put(ada, "/api/v5/messages", document | wrong, "post")
        assert answer.status_code == 422 and answer.json()["message"].startswith(f"{name}: "), answer.content
    answer = ada.get("/api/v3/channels", {"channelIds[]": "a\0"})
    assert (answer.status_code, answer.json()["message"]) == (400, "channelIds must not hold a NUL character")


# --- “Mark messages as delivered”, “markAsDelivered: when message reaches recipient device”


def test_mark_as_delivered_and_get_the_markers_back(project):
    (message,) = posted(project)
    answer = put(log_in(project, "ben"), f"{FEEDS}/mark-delivering", {"messageId": message})
    assert answer.status_code == 200
    found = answer.json()
    assert set(found) == {"userMarkers", "userEntityMarkers", "userFeedMarkers", "feedMarkers"}
    (mine,) = found["userFeedMarkers"]
    assert (mine["userId"], mine["feedId"], mine["entityId"]) == ("ben", "room", "room")
    assert (mine["deliveredToSegment"], mine["readToSegment"], mine["unreadCount"]) == (1, 0, 1)
    assert found["feedMarkers"][0]["lastSegment"] == 1
    assert Message.objects.get().status == "delivered"


def test_delivery_confirmation_is_a_watermark(project):
    """Marking a message marks every earlier one."""
    one, two, three = posted(project, count=3)
    put(log_in(project, "ben"), f"{FEEDS}/mark-delivering", {"messageId": two})
    ada = log_in(project, "ada")
    assert [receivers(ada, each) for each in (one, two, three)] == [["ben"], ["ben"], []]


def test_handle_delivery_failures(project):
    """“Implement proper error handling”: each failure is told apart, in the vendor's form and codes."""
    (message,) = posted(project)
    ben, outsider = log_in(project, "ben"), log_in(project, "zoe")
    members.change(project.chatchannel_set.get(), "cleo", {"membership": "banned"})
    cases = [
        (ben, f"{FEEDS}/mark-delivering", {"messageId": "x"}, 404, 400400),
        (ben, f"{FEEDS}/mark-delivering", {}, 404, 400400),
        (ben, f"{FEEDS}/mark-delivering", [], 400, 400000),
        (ben, f"{FEEDS}/mark-read", {"readToSegment": -1}, 400, 400000),
        (ben, f"{FEEDS}/mark-read", {"readToSegment": True}, 400, 400000),
        (ben, "/api/v1/markers/message-feeds/none/mark-read", {"readToSegment": 1}, 404, 400400),
        (outsider, f"{FEEDS}/mark-delivering", {"messageId": message}, 403, 400300),
        (log_in(project, "cleo"), f"{FEEDS}/mark-delivering", {"messageId": message}, 403, 400304),
        (Client(), f"{FEEDS}/mark-delivering", {"messageId": message}, 401, 400100),
        (Client(headers={"Authorization": "Bearer x"}), f"{FEEDS}/mark-read", {"readToSegment": 1}, 401, 400100),
    ]
    for client, path, body, status, code in cases:
        answer = put(client, path, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (path, body)
        assert answer.json()["status"] == "error" and answer.json()["message"]
    assert not ChatMember.objects.filter(delivered_to_segment__gt=0).exclude(user__user_id="ada").exists()


# --- “Get message read users”, “Get message delivered users”, “Filter by membership status”


def test_read_users_and_delivered_users(project):
    (message,) = posted(project)
    put(log_in(project, "ben"), f"{FEEDS}/mark-read", {"readToSegment": 1})
    put(log_in(project, "cleo"), f"{FEEDS}/mark-delivering", {"messageId": message})
    ada = log_in(project, "ada")
    assert receivers(ada, message) == ["ben", "cleo"]
    assert receivers(ada, message, "read") == ["ben"]  # and ben's read implied delivery
    found = ada.get(f"/api/v1/markers/messages/{message}/read-users").json()
    (marker,) = found["contentMarkers"]
    assert (marker["contentId"], marker["creatorId"], marker["feedId"]) == (message, "ada", "room")
    assert (marker["deliveredCount"], marker["readCount"]) == (2, 1)
    assert found["userFeedMarkers"][0]["readToSegment"] == 1


@pytest.mark.parametrize("membership", ["member", "banned", "muted", "non-member", "deleted"])
def test_filter_by_each_membership(project, membership):
    (message,) = posted(project)
    for user in ("ben", "cleo"):
        put(log_in(project, user), f"{FEEDS}/mark-read", {"readToSegment": 1})
    members.change(project.chatchannel_set.get(), "ben", {"membership": membership})
    members.change(project.chatchannel_set.get(), "cleo", {"membership": "member"})
    wanted = ["ben", "cleo"] if membership == "member" else ["ben"]
    ada = log_in(project, "ada")
    assert receivers(ada, message, "read", f"?memberships[]={membership}") == wanted
    assert receivers(ada, message, "delivered", f"?memberships%5B%5D={membership}") == wanted
    assert ada.get(f"/api/v1/markers/messages/{message}/read-users?memberships[]=king").status_code == 400


# --- “Implement pagination for large user lists”


def test_pages_by_the_tokens_of_the_sdk(project):
    (message,) = posted(project, user=None)
    for user in ("ada", "ben", "cleo"):
        put(log_in(project, user), f"{FEEDS}/mark-delivering", {"messageId": message})
    ada = log_in(project, "ada")
    seen, asked = [], token(limit=2)
    while asked:
        found = ada.get(f"/api/v1/markers/messages/{message}/delivered-users?options[token]={quote(asked)}").json()
        seen.append(found["publicUserIds"])
        following = found["paging"].get("next")
        page = json.loads(base64.b64decode(following)) if following else None
        asked = token(after=page["after"], limit=page["first"]) if page else ""
    assert seen == [["ada", "ben"], ["cleo"]]


@pytest.mark.parametrize("asked", ["x", token(limit=0), token(limit="x"), token(after="x"), token(before="x"), "MQ=="])
def test_a_bad_token_is_refused(project, asked):
    (message,) = posted(project)
    url = f"/api/v1/markers/messages/{message}/read-users?options[token]={quote(asked)}"
    assert log_in(project, "ada").get(url).json()["code"] == 400000


# --- “Use batch operations for multiple messages to reduce API calls”


def test_one_mark_covers_all_messages_before_it_and_markers_come_many_at_once(project):
    messages = posted(project, count=3)
    put(log_in(project, "ben"), f"{FEEDS}/mark-delivering", {"messageId": messages[-1]})
    ada = log_in(project, "ada")
    query = "&".join(f"messageIds[]={each}" for each in [*messages, "x"])
    with CaptureQueriesContext(connection) as queries:
        found = ada.get(f"/api/v1/markers/messages?{query}").json()
    assert [each["deliveredCount"] for each in found["contentMarkers"]] == [1, 1, 1]
    assert len(queries) <= 10


# --- “Real-time engagement tracking”: markers by asking


def test_reading_marks_what_is_there_and_what_comes_until_it_stops(project):
    posted(project, count=2)
    ben = log_in(project, "ben")
    (started,) = put(ben, f"{FEEDS}/start-reading", method="post").json()["userFeedMarkers"]
    assert (started["readToSegment"], started["deliveredToSegment"]) == (2, 2)
    posted(project)
    (stopped,) = put(ben, f"{FEEDS}/stop-reading", method="post").json()["userFeedMarkers"]
    assert stopped["readToSegment"] == 3
    posted(project)
    (again,) = put(ben, f"{FEEDS}/stop-reading", method="post").json()["userFeedMarkers"]
    assert again["readToSegment"] == 3  # it was not open
    reading = put(ben, "/api/v1/markers/message-feeds/reading", {"messageFeedIds": ["room"]}, "post").json()
    assert reading["userFeedMarkers"][0]["readToSegment"] == 4
    posted(project)
    assert put(ben, "/api/v1/markers/channels/room/mark-read").json()["userFeedMarkers"][0]["readToSegment"] == 5


def test_sync_tells_what_changed_once(project):
    (message,) = posted(project)
    some_time_ago()
    ben = log_in(project, "ben")
    first = put(ben, "/api/v1/markers/sync", {"deviceLastSyncAt": "2026-01-01T00:00:00.000Z"}, "post").json()
    assert [each["feedId"] for each in first["feedMarkers"]] == ["room"]
    assert first["userMarkers"][0]["unreadCount"] == 1
    since = first["userMarkers"][0]["lastSyncAt"][:23] + "Z"  # to the millisecond, as JavaScript keeps it
    assert put(ben, "/api/v1/markers/sync", {"deviceLastSyncAt": since}, "post").json()["feedMarkers"] == []
    put(ben, f"{FEEDS}/mark-delivering", {"messageId": message})
    again = put(ben, "/api/v1/markers/sync", {"deviceLastSyncAt": since}, "post").json()
    assert again["userFeedMarkers"][0]["deliveredToSegment"] == 1
    some_time_ago()  # until then it is told again: something older might be committed late
    last = put(ben, "/api/v1/markers/sync", {"deviceLastSyncAt": since}, "post").json()
    since = last["userMarkers"][0]["lastSyncAt"][:23] + "Z"
    assert put(ben, "/api/v1/markers/sync", {"deviceLastSyncAt": since}, "post").json()["feedMarkers"] == []
    for wrong in ("x", None, "0000-01-01"):
        assert put(ben, "/api/v1/markers/sync", {"deviceLastSyncAt": wrong}, "post").status_code == 400


def some_time_ago() -> None:
    """Whatever there is was changed long enough ago."""
    for model in (ChatMember, ChatChannel):
        model.objects.update(updated_at=F("updated_at") - chat_inbox.LATE)


def test_the_other_addresses_of_the_sdk(project):
    (message,) = posted(project)
    ben = log_in(project, "ben", displayName="Ben")
    for path, name, size in [
        ("v1/markers/userMarker", "userMarkers", 1),
        ("v1/markers/channels?channelIds[]=room", "userEntityMarkers", 1),
        ("v1/markers/message-feeds?messageFeedIds[]=room", "userFeedMarkers", 1),
        ("v1/markers/user-message-feed?channelIds[]=room", "feedMarkers", 1),
        ("v5/message-feeds/room", "messageFeeds", 1),
        ("v5/message-feeds/list?messageFeedIds[]=room&messageFeedIds[]=none", "messageFeeds", 1),
        ("v5/message-feeds/channel/room", "messageFeeds", 1),
        ("v3/channels/room", "channels", 1),
        ("v3/channels/list?channelIds[]=room", "channels", 1),
        ("v3/channels", "channels", 1),
        ("v5/messages?messageFeedId=room", "messages", 1),
        (f"v5/messages/{message}", "messages", 1),
        (f"v5/messages/list?messageIds[]={message}", "messages", 1),
        ("v3/users/ben", "users", 1),
        ("v3/users/list?userIds[]=ben&userIds[]=nobody", "users", 1),
    ]:
        answer = ben.get(f"/api/{path}")
        assert answer.status_code == 200 and len(answer.json()[name]) == size, (path, answer.content)
    assert ben.get("/api/v3/network-settings/chat").json()["marker"] == {"enabled": True}
    assert ben.get("/api/v3/users/ben").json()["users"][0]["displayName"] == "Ben"


def test_messages_are_written_once_and_read_page_by_page(project):
    ada = log_in(project, "ada")
    body = {"messageFeedId": "room", "dataType": "text", "data": {"text": "Hi"}, "referenceId": "LOCAL_1"}
    first, again = (put(ada, "/api/v5/messages", body, "post").json()["messages"][0] for _ in range(2))
    assert first["messageId"] == again["messageId"] and first["segment"] == again["segment"] == 1
    assert (first["data"], first["creatorPublicId"], first["messageFeedId"]) == ({"text": "Hi"}, "ada", "room")
    other = put(ada, "/api/v5/messages", {**body, "data": {"text": "No"}}, "post")
    assert other.json()["code"] == 400900
    posted(project, count=4)
    seen: list[int] = []
    query = "options[limit]=2"
    while query:
        found = ada.get(f"/api/v5/messages?messageFeedId=room&{query}").json()
        seen += [each["segment"] for each in found["messages"]]
        query = f"options[token]={quote(found['paging']['next'])}" if "next" in found["paging"] else ""
    assert seen == [5, 4, 3, 2, 1]
    rising = ada.get("/api/v5/messages?messageFeedId=room&options[sortBy]=segmentAsc").json()["messages"]
    assert [each["segment"] for each in rising] == [1, 2, 3, 4, 5]
    assert ada.get("/api/v5/messages?messageFeedId=room&includeTags[]=x").json()["code"] == 400000
    for wrong in ({}, {**body, "dataType": "image"}, {**body, "data": "x"}, {**body, "data": {}}):
        assert put(ada, "/api/v5/messages", wrong, "post").status_code in (400, 404, 422), wrong


def test_what_cannot_be_asked_for_is_refused_and_not_left_out(project):
    ada = log_in(project, "ada")
    for query in ("dataType=image", "parentId=x", "hasFlags=true", "options[around]=x", "options[sortBy]=lastCreated"):
        answer = ada.get(f"/api/v5/messages?messageFeedId=room&{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, 400000), query
        assert query.partition("=")[0] in answer.json()["message"]
    assert ada.get("/api/v5/messages", {"messageFeedId": "room", "options[token]": token(sortBy=1)}).status_code == 400
    reply = {"messageFeedId": "room", "dataType": "text", "data": {"text": "Hi"}, "parentId": "x"}
    assert put(ada, "/api/v5/messages", reply, "post").status_code == 400
    assert not Message.objects.exists()


# --- “Respect user privacy settings”, “Implement appropriate access controls”, “Consider user consent”


def test_a_user_who_hides_receipts_is_in_no_list(project):
    (message,) = posted(project)
    ChatUser.objects.filter(user_id="ben").update(receipts_hidden=True)
    ChatMember.objects.filter(user__user_id="ben").update(hidden=True)
    put(log_in(project, "ben"), f"{FEEDS}/mark-read", {"readToSegment": 1})
    assert receivers(log_in(project, "ada"), message) == []


def test_a_project_that_hides_receipts_shows_none(project):
    (message,) = posted(project)
    put(log_in(project, "ben"), f"{FEEDS}/mark-read", {"readToSegment": 1})
    ChannelSettings.objects.create(project=project, receipts_hidden=True)
    found = log_in(project, "ada").get(f"/api/v1/markers/messages/{message}/read-users").json()
    assert found["publicUserIds"] == [] and found["contentMarkers"][0]["readCount"] == 0


def test_only_who_is_in_the_channel_may_ask(project):
    (message,) = posted(project)
    zoe = log_in(project, "zoe")
    for path in (
        f"v1/markers/messages/{message}/read-users",
        f"v5/messages/{message}",
        "v5/messages?messageFeedId=room",
        "v5/message-feeds/room",
        "v3/channels/room",
    ):
        assert zoe.get(f"/api/{path}").json()["code"] == 400300, path
    assert zoe.get(f"/api/v1/markers/messages?messageIds[]={message}").json()["contentMarkers"] == []
    stranger = log_in(make_project(), "ada")
    assert stranger.get(f"/api/v1/markers/messages/{message}/read-users").json()["code"] == 400400


def test_nothing_is_told_of_a_closed_channel(project):
    """Nor of its messages, and there may be another one of its id by now."""
    (message,) = posted(project)
    ada = log_in(project, "ada")
    channels.delete(project_id=project.pk, key="room")
    for again in (False, True):
        if again:
            make_channel(project, key="room", users=["ada"])
        for path in (f"v5/messages/{message}", f"v1/markers/messages/{message}/read-users"):
            assert ada.get(f"/api/{path}").json()["code"] == 400400, path
        assert ada.get(f"/api/v5/messages/list?messageIds[]={message}").json()["messages"] == []
        assert ada.get(f"/api/v1/markers/messages?messageIds[]={message}").json()["contentMarkers"] == []


def test_a_session_may_do_what_its_key_may(project):
    assert sessions(make_key(project, ["send", "read", "manage"]), {"userId": "ben"}).json()["code"] == 400301
    assert sessions("pr_x_y", {"userId": "ben"}).json()["code"] == 400100
    (message,) = posted(project)
    ben = log_in(project, "ben", key=make_key(project, ["receipts"]))
    assert put(ben, f"{FEEDS}/mark-delivering", {"messageId": message}).status_code == 200
    assert ben.get(f"/api/v5/messages/{message}").json()["code"] == 400301
    body = {"messageFeedId": "room", "data": {"text": "x"}}
    assert put(ben, "/api/v5/messages", body, "post").json()["code"] == 400301
    assert ben.get("/v1/notifications").status_code == 401  # and nothing else


def test_a_session_ends_with_its_key_and_with_a_logout(project):
    ben = log_in(project, "ben")
    assert ben.delete("/api/v4/sessions").json() == {"success": True}
    assert ben.get("/api/v3/users/ben").json()["code"] == 400100
    ben = log_in(project, "ben")
    ApiKey.objects.update(revoked=True)
    authentication.forget()
    assert ben.get("/api/v3/users/ben").json()["code"] == 400100


def test_secure_sessions_need_a_token_from_the_applications_own_server(project):
    ChannelSettings.objects.create(project=project, secure_sessions=True)
    key = make_key(project)
    server = Client(headers={"X-API-Key": key})
    invited = server.post("/v1/chat-users/ben/token", content_type="application/json").json()["token"]
    assert sessions(key, {"userId": "ben"}).json()["code"] == 400100
    assert sessions(key, {"userId": "ada", "authToken": invited}).json()["code"] == 400100
    assert sessions(key, {"userId": "ben", "authToken": invited}).status_code == 200


@pytest.mark.parametrize("body", [{}, {"userId": 7}, {"userId": ""}, {"userId": "a/b"}, {"userId": "x" * 201}, []])
def test_a_bad_login_is_refused(project, body):
    answer = sessions(make_key(project), body)
    assert answer.status_code in (400, 422) and answer.json()["code"] == 400000


# --- “Silent Operation”, “delivery data that's not immediately visible”, “very large user lists”, “performance metrics”


def test_marking_again_or_backwards_changes_nothing_and_is_no_error(project):
    """A client marks silently, as often as it likes."""
    first, second = posted(project, count=2)
    ben = log_in(project, "ben")
    said = [put(ben, f"{FEEDS}/mark-delivering", {"messageId": each}) for each in (second, second, first)]
    assert [answer.status_code for answer in said] == [200, 200, 200]
    assert [answer.json()["userFeedMarkers"][0]["deliveredToSegment"] for answer in said] == [2, 2, 2]
    assert receivers(log_in(project, "ada"), second) == ["ben"]


def test_a_list_costs_the_same_in_a_large_channel_and_is_read_when_it_is_wanted(project):
    """Counts come with the messages; who it was is asked for page by page, once somebody looks."""

    def asked(message: str) -> tuple[int, int]:
        url = f"/api/v1/markers/messages/{message}/delivered-users?options[token]={quote(token(limit=10))}"
        with CaptureQueriesContext(connection) as queries:
            found = ada.get(url).json()
        return len(found["publicUserIds"]), len(queries)

    ada = log_in(project, "ada")
    (message,) = posted(project)
    put(log_in(project, "ben"), f"{FEEDS}/mark-delivering", {"messageId": message})
    asked(message)
    _, few = asked(message)
    channel = project.chatchannel_set.get()
    members.add(channel, {"members": [{"user_id": f"user-{number}"} for number in range(300)]})
    (after,) = posted(project)
    ChatMember.objects.exclude(user__user_id="ada").update(delivered_to_segment=2)
    assert asked(after) == (10, few)
    found = ada.get(f"/api/v5/messages/{after}").json()
    assert not any("user-" in json.dumps(found[name]) for name in ("messages", "contentMarkers") if name in found)


def test_analytics_count_what_members_marked(project):
    """“Monitor performance metrics”, “comprehensive analytics for delivery insights”."""
    one, _ = posted(project, count=2)
    put(log_in(project, "ben"), f"{FEEDS}/mark-delivering", {"messageId": one})
    rollup.fold_all()
    today = datetime.now(UTC).date()
    days = f"start_date={today - timedelta(days=1)}&end_date={today + timedelta(days=1)}"
    server = Client(headers={"X-API-Key": make_key(project)})
    found = server.get(f"/v1/analytics/delivery-metrics?{days}&group_by=channel").json()["metrics"]
    assert [(each["channel"], each["sent"], each["delivered"], each["delivery_rate"]) for each in found] == [
        ("chat", 2, 1, 0.5)
    ]


# --- the whole of it


def test_the_document_was_read_whole() -> None:
    """Every line of it, and the tests that show what it promises."""
    text = (DOCUMENTS / "socialplus-delivery-status.txt").read_text()
    lines = [line.lstrip(" •") for line in text.splitlines() if line.strip()]
    delivered, users = "test_mark_as_delivered_and_get_the_markers_back", "test_read_users_and_delivered_users"
    batch = "test_one_mark_covers_all_messages_before_it_and_markers_come_many_at_once"
    sdk, failures = "test_the_vendors_sdk_with_only_its_endpoint_changed", "test_handle_delivery_failures"
    large = "test_a_list_costs_the_same_in_a_large_channel_and_is_read_when_it_is_wanted"
    pages, metrics = "test_pages_by_the_tokens_of_the_sdk", "test_analytics_count_what_members_marked"
    membership, hidden = "test_filter_by_each_membership", "test_a_user_who_hides_receipts_is_in_no_list"
    project_hides = "test_a_project_that_hides_receipts_shows_none"
    access = "test_only_who_is_in_the_channel_may_ask test_a_session_may_do_what_its_key_may"
    shown_by = {
        "Skip to main content": NOTHING,
        "Key Benefit: Monitor message delivery status": f"{delivered} {users}",
        "Feature Overview": NOTHING,
        "Message Delivery Status provides": sdk,
        "Delivery Tracking": NOTHING,
        "Message delivery management": NOTHING,
        "Mark messages as delivered": delivered,
        "Track delivery confirmation": "test_delivery_confirmation_is_a_watermark",
        "Monitor delivery status": f"{delivered} test_sync_tells_what_changed_once",
        "Handle delivery failures": failures,
        "User Engagement": NOTHING,
        "Read and delivery insights": NOTHING,
        "Get message read users": users,
        "Get message delivered users": users,
        "Filter by membership status": membership,
        "Real-time engagement tracking": "test_reading_marks_what_is_there_and_what_comes_until_it_stops"
        " test_sync_tells_what_changed_once",
        "Performance Consideration": f"{pages} {membership} {large}",
        "Implementation Guide": NOTHING,
        "Mark Message as Delivered": delivered,
        "Get Message Read Users": users,
        "Get Message Delivered Users": users,
        "Update message delivery status": delivered,
        "Core Operation": NOTHING,
        "MethodPurposeWhen to Use": NOTHING,
        "markAsDelivered": f"{delivered} {sdk}",
        "Code Examples": NOTHING,
        "Task {": NOTHING,
        "try await message.markAsDelivered()": sdk,
        "}": NOTHING,
        "Silent Operation": "test_marking_again_or_backwards_changes_nothing_and_is_no_error",
        "Best Practices": NOTHING,
        "Optimize delivery status operations": NOTHING,
        "Mark messages as delivered immediately": delivered,
        "Use batch operations": batch,
        "Implement proper error handling": failures,
        "Efficient status management": f"{batch} test_marking_again_or_backwards_changes_nothing_and_is_no_error",
        "Respect user privacy in delivery tracking": NOTHING,
        "Use membership filtering": membership,
        "Respect user privacy settings": f"{hidden} {project_hides}",
        "Implement appropriate access controls": access,
        "Consider user consent": hidden,
        "Privacy-conscious implementation": f"{hidden} {project_hides} {access}",
        "Build for scale and performance": NOTHING,
        "Implement pagination": pages,
        "Use lazy loading strategies": large,
        "Consider implementing virtual scrolling": f"{pages} {large}",
        "Monitor performance metrics": metrics,
        "Scalable implementation": large,
        "Implementation Strategy": f"{delivered} {users} {membership} {metrics}",
    }
    read_whole(lines, shown_by)


# --- the SDK itself


def test_the_vendors_sdk_with_only_its_endpoint_changed(live: Live, transactional_db):
    """Three users log in by the SDK's own session call, one after the other: marks of two are seen by the third."""
    modules = _installed()
    project = make_project()
    make_channel(project, key="room", users=["ada", "ben", "cleo"])
    environment = {
        **os.environ,
        "NODE_PATH": str(modules),
        "POSTROOM_URL": live.url,
        "POSTROOM_KEY": make_key(project),
        "CHANNEL": "room",
    }
    script = ROOT / "tests" / "seeds" / "socialplus.cjs"
    ended = subprocess.run(["node", script], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout.splitlines()[-1])
    one, two, three = seen.pop("messageIds")
    assert seen == {
        "login": True,
        "segments": [1, 2, 3],
        "creator": "ada",
        "before": [0, 0],
        "markAsDelivered": True,
        "startReading": True,
        "stopReading": True,
        "deliveredPages": [["ben"], ["cleo"]],
        "deliveredThree": ["cleo"],
        "readOne": ["cleo"],
        "readBanned": [],
        "names": ["Cleo"],
        "counts": [[2, 1, "one"], [2, 1, "two"], [1, 1, "three"]],
        "unread": 3,
        "readAfterMarkRead": ["ben", "cleo"],
        "unknown": 400400,
    }
    assert {str(key): status for key, status in Message.objects.values_list("pk", "status")} == dict.fromkeys(
        (one, two, three), "read"
    )


def _installed() -> Any:
    """The SDK, installed once into the checkout. Without node or a network the test is skipped, but never in CI."""
    absent = pytest.fail if os.environ.get("CI") else pytest.skip
    if not (shutil.which("node") and shutil.which("npm")):
        absent("node and npm are needed")
    modules = CACHE / "node_modules"
    if not (modules / "@amityco" / "ts-sdk" / "package.json").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-save", "--silent", "--prefix", str(CACHE), SDK]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if ended.returncode:
            absent(f"the SDK could not be installed: {ended.stderr[-300:]}")
    return modules
