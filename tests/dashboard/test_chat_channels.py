"""The console's pages of chat channels: the list, and a channel with its members and messages."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dashboard import channel_lists
from tests.builders import make_channel, make_channel_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking import ids
from tracking.models import ChannelMessage, ChannelSettings, ChatChannel, ChatMember, ChatUser
from tracking.services import channels, markers, members

pytestmark = pytest.mark.django_db
LIST = "/admin/tracking/chatchannel/"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def channel() -> ChatChannel:
    return make_channel(make_project(), key="room", users=[f"u{number}" for number in range(7)])


def page(channel: ChatChannel) -> str:
    return f"{LIST}{channel.pk}/change/"


def turned(client: Client, url: str | None, pattern: str) -> list[str]:
    """Everything that a list shows, page by page."""
    seen: list[str] = []
    while url:
        shown = text(client.get(url))
        seen += re.findall(pattern, shown)
        more = re.search(r'hx-get="([^"]+)"', shown)
        url = more and more[1].replace("&amp;", "&")
    return seen


def listed(client: Client, query: str = "") -> list[int]:
    return [row.pk for row in client.get(f"{LIST}?{query}").context["cl"].result_list]


def test_the_list_says_how_many_and_when(client, channel):
    make_channel_message(channel)
    members.change(channel, "u1", {"membership": "banned"})
    (row,) = client.get(LIST).context["cl"].result_list
    assert (row.members_present, row.last_segment) == (6, 1)
    assert row.last_at == last_time(channel)


def last_time(channel: ChatChannel) -> datetime:
    return ids.time_of(ChannelMessage.objects.get(channel=channel).pk)


def test_counts_stop_at_their_bound(client, channel, monkeypatch):
    monkeypatch.setattr(channel_lists, "LISTED_BOUND", 3)
    monkeypatch.setattr(channel_lists, "PAGE_BOUND", 4)
    assert "3+" in text(client.get(LIST))
    assert "4+" in text(client.get(page(channel)))


def test_filters_and_search(client, channel):
    other = make_channel(make_project(), key="other", users=["u1"], type="live")
    gone = make_channel(other.project, key="gone")
    channels.delete(project_id=gone.project_id, key="gone")
    for query, found in (
        ("", [gone, other, channel]),
        (f"project={channel.project_id}", [channel]),
        ("kind=live", [other]),
        ("state=deleted", [gone]),
        ("state=live", [other, channel]),
        ("kind=nonsense", [gone, other, channel]),
        ("q=room", [channel]),
        ("q=u1", [other, channel]),
        ("q=u2", [channel]),
        ("q=nobody", []),
    ):
        assert listed(client, query) == [each.pk for each in found], query


def test_members_page_by_page_and_by_membership(client, channel, monkeypatch):
    monkeypatch.setattr(channel_lists, "SHOWN", 2)
    members.change(channel, "u2", {"membership": "banned"})
    members.change(channel, "u4", {"membership": "banned"})
    members.change(channel, "u6", {"membership": "banned"})
    url = reverse("admin:tracking_chatchannel_members", args=[channel.pk])
    assert turned(client, url, r'title="(u\d)"') == [f"u{number}" for number in range(7)]
    assert turned(client, f"{url}?membership=banned", r'title="(u\d)"') == ["u2", "u4", "u6"]
    shown = text(client.get(f"{page(channel)}?membership=banned"))
    assert f"{url}?membership=banned" in shown and re.search(r'banned <span class="number">3<', shown)


@pytest.mark.parametrize("query", ["?membership=king", "?after=x", "?membership=%00&after=%00"])
def test_what_cannot_be_read_is_as_if_it_were_not_there(client, channel, query):
    make_channel_message(channel)
    for url in (page(channel), *pieces(channel)):
        assert client.get(url + query).status_code == 200
    assert len(turned(client, pieces(channel)[0] + query, r'title="(u\d)"')) == 7


def pieces(channel: ChatChannel) -> list[str]:
    return [reverse(f"admin:tracking_chatchannel_{name}", args=[channel.pk]) for name in ("members", "messages")]


def test_messages_newest_first_lead_to_their_pages(client, channel, monkeypatch):
    monkeypatch.setattr(channel_lists, "SHOWN", 2)
    keys = [str(make_channel_message(channel, user=f"u{number}").pk) for number in range(5)]
    pattern = r'<a href="/admin/tracking/message/([^/]+)/change/'
    assert turned(client, pieces(channel)[1], pattern) == keys[::-1]
    assert page(channel) in text(client.get(reverse("admin:tracking_message_change", args=[keys[0]])))


def test_markers_are_shown_unless_they_are_hidden(client, channel):
    make_channel_message(channel)
    member = ChatMember.objects.get(channel=channel, user__user_id="u1")
    markers.mark(channel, {member.pk: markers.Reach(1, 1)})
    url = pieces(channel)[0]
    assert "receipts hidden" not in text(client.get(url)) and '"number">1</td>' in text(client.get(url))
    channels.change_user(project_id=channel.project_id, user_id="u1", document={"receipts_hidden": True})
    assert text(client.get(url)).count("receipts hidden") == 1
    ChannelSettings.objects.create(project=channel.project, receipts_hidden=True)
    assert text(client.get(url)).count("receipts hidden") == 7


def test_it_is_only_read_and_escaped(client):
    channel = make_channel(make_project(), name=HOSTILE)
    members.add(channel, {"members": [{"user_id": "<b>x", "display_name": HOSTILE}]})
    make_channel_message(channel, user="<b>x", text=HOSTILE)
    for url in (LIST, page(channel), *pieces(channel)):
        shown = text(client.get(url))
        assert HOSTILE not in shown and "<b>x" not in shown
    assert client.post(page(channel), {"name": "x"}).status_code == 405
    assert client.get(f"{LIST}add/").status_code == client.get(f"{LIST}{channel.pk}/delete/").status_code == 403


def test_only_who_may(channel):
    stranger, viewer = staff("tracking.view_project"), staff("tracking.view_chatchannel")
    members_url, messages_url = pieces(channel)
    for url in (LIST, page(channel), members_url, messages_url):
        assert stranger.get(url).status_code == 403
    assert viewer.get(members_url).status_code == 200
    assert viewer.get(messages_url).status_code == 403
    assert messages_url not in text(viewer.get(page(channel)))


def test_a_channel_that_is_not_there(client):
    assert "There is no channel" in text(client.get(f"{LIST}99/change/", follow=True))
    assert client.get(reverse("admin:tracking_chatchannel_members", args=[99])).status_code == 404


def test_budget_of_queries(client, channel):
    for number in range(5):
        make_channel(channel.project, users=[f"v{number}"])
        make_channel_message(channel, user="u1")
    assert ChatUser.objects.count() == 12
    for url in (LIST, page(channel), *pieces(channel)):
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        assert len(queries) <= 9, [each["sql"] for each in queries]
