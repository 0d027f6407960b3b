"""The console's page of a channel message's receivers, and what a project sets for its channels."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dashboard import channel_page
from tests.builders import make_account, make_channel, make_channel_message, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking.models import ChannelSettings, ChatMember
from tracking.services import markers, members

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def channel():
    return make_channel(make_project(), key="room", users=[f"u{number}" for number in range(7)])


def page(key, query: str = "") -> str:
    return reverse("admin:tracking_message_receivers", args=[key]) + query


def listed(client: Client, key, query: str = "") -> list[str]:
    """Everybody that the list shows, page by page."""
    seen: list[str] = []
    url: str | None = reverse("admin:tracking_message_receivers-list", args=[key]) + query
    while url:
        shown = text(client.get(url))
        seen += re.findall(r'title="(u\d+)"', shown)
        more = re.search(r'hx-get="([^"]+)"', shown)
        url = more and more[1].replace("&amp;", "&")
    return seen


def read(channel, **segments: int) -> None:
    for user, segment in segments.items():
        member = ChatMember.objects.get(channel=channel, user__user_id=user)
        markers.mark(channel, {member.pk: markers.Reach(segment, segment)})


def test_the_message_leads_to_its_receivers_and_cannot_be_sent_again(client, channel):
    key = make_channel_message(channel, user="u0").pk
    shown = text(client.get(reverse("admin:tracking_message_change", args=[key])))
    assert page(key) in shown and "Send again" not in shown
    url = reverse("admin:tracking_message_send-again", args=[key])
    form = {"token": "01890000-0000-7000-8000-000000000000"}
    assert "sent again in its channel" in text(client.post(url, form, follow=True))


def test_counts_and_list_page_by_page(client, channel, monkeypatch):
    monkeypatch.setattr(channel_page, "SHOWN", 2)
    key = make_channel_message(channel, user="u0").pk
    read(channel, **{f"u{number}": 1 for number in range(1, 6)})
    shown = text(client.get(page(key)))
    assert shown.count("<dd>5</dd>") == 2
    assert listed(client, key) == ["u1", "u2", "u3", "u4", "u5"]
    members.change(channel, "u2", {"membership": "banned"})
    assert listed(client, key, "?kind=read&membership=banned") == ["u2"]
    assert text(client.get(page(key, "?membership=banned"))).count("<dd>1</dd>") == 2


@pytest.mark.parametrize("query", ["?kind=x", "?membership=king", "?after=x", "?kind=%00&membership=%00"])
def test_what_cannot_be_read_is_as_if_it_were_not_there(client, channel, query):
    key = make_channel_message(channel).pk
    read(channel, u1=1)
    assert client.get(page(key, query)).status_code == 200
    assert listed(client, key, query) == ["u1"]


def test_a_project_that_hides_receipts_hides_them_here_too(client, channel):
    key = make_channel_message(channel).pk
    read(channel, u1=1)
    ChannelSettings.objects.create(project=channel.project, receipts_hidden=True)
    shown = text(client.get(page(key)))
    assert "hides the receipts" in shown and "<dd>" not in shown
    assert listed(client, key) == []


def test_a_message_that_went_to_no_channel(client):
    project = make_project()
    make_account(project)
    key = make_message(project)
    assert "went to no channel" in text(client.get(page(key), follow=True))


def test_names_are_escaped(client, channel):
    members.add(channel, {"members": [{"user_id": "<b>x", "display_name": "<script>1</script>"}]})
    key = make_channel_message(channel).pk
    read(channel, **{"<b>x": 1})
    shown = text(client.get(reverse("admin:tracking_message_receivers-list", args=[key])))
    assert "&lt;b&gt;x" in shown and "<script>1" not in shown


def test_only_who_may_see_messages(channel):
    key = make_channel_message(channel).pk
    for url in (page(key), reverse("admin:tracking_message_receivers-list", args=[key])):
        assert staff("tracking.view_project").get(url).status_code == 403
        assert staff("tracking.view_message").get(url).status_code == 200


def test_a_projects_settings_are_on_its_page(client, channel):
    shown = text(client.get(reverse("admin:tracking_project_change", args=[channel.project_id])))
    assert "channel_settings-0-receipts_hidden" in shown


def test_budget_of_queries(client, channel):
    key = make_channel_message(channel).pk
    read(channel, **{f"u{number}": 1 for number in range(7)})
    for url in (page(key), reverse("admin:tracking_message_receivers-list", args=[key])):
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        assert len(queries) <= 9, [each["sql"] for each in queries]
