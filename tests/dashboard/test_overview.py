"""The overview: what it shows, to whom, what it asks the database, and bad input."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ

from config.static import QuickCompressor
from dashboard import first_steps, overview
from providers.models import ProviderAccount
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking.models import Heartbeat, Message, Project, Switch
from tracking.services import check, history

pytestmark = pytest.mark.django_db
PAGE, LIVE = "/admin/", "/admin/overview/live/"
BUDGET = 22  # statements of the whole page, session and user included; it has trouble to diagnose


@pytest.fixture(autouse=True)
def nothing_kept_for_a_while() -> None:
    cache.clear()


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def past(monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two days of history; the bad campaign is a fifth of them."""
    monkeypatch.setattr(history, "CAMPAIGN_SHARE", 0.2)
    call_command("seed_demo", verbosity=0)
    project = Project.objects.get(code="demo")
    accounts = list(ProviderAccount.objects.order_by("pk"))
    history.write(project=project, accounts=accounts, days=2, messages=800, until=datetime.now(UTC))
    return project


def figures_of(page: str) -> dict:
    return json.loads(re.search(r'<script id="figures" type="application/json">(.*?)</script>', page, re.S)[1])


@pytest.mark.django_db(transaction=True)
def test_history_is_what_the_recorded_facts_say(past):
    assert list(check.differences()) == []
    assert {"delivered", "bounced", "failed", "read"} <= set(Message.objects.values_list("status", flat=True))


def test_the_page_shows_tiles_charts_tables_and_who_is_to_blame(client, past):
    page = text(client.get(PAGE))
    for name in ("Messages", "Delivery rate", "Bounce rate", "Slow ratio", "Due now", "Receipts to read"):
        assert name in page
    assert set(figures_of(page)) == {"volume", "delivery", "latency", "bounces", "failures", "heat"}
    assert "High bounce rate" in page
    assert "spring-sale" in page
    assert "clean the list" in page
    assert "delivered / sent" in page  # a definition


def test_every_link_to_the_list_leads_to_a_list(client, past):
    page = text(client.get(PAGE))
    links = {unescape(link) for link in re.findall(r'href="(/admin/tracking/message/\?[^"]+)"', page)}
    assert len(links) > 15
    known = {"time", "status", "project", "channel", "account", "reason", "failure", "q"}
    for link in links:
        assert set(parse_qs(urlsplit(link).query)) <= known


def test_the_budget_does_not_depend_on_the_number_of_messages(client, past):
    client.get(PAGE)
    cache.clear()
    with CaptureQueriesContext(
        connection,
    ) as page:
        client.get(PAGE)
    with CaptureQueriesContext(connection) as live:
        client.get(LIVE)
    assert len(page) <= BUDGET
    assert len(live) <= BUDGET - 5  # what is kept for a while is not read again
    assert not any(re.search(r'count\(\*\)\s+AS\s+"__count"\s+FROM\s+"message"', each["sql"]) for each in page)


@pytest.mark.parametrize("period", ["1h", "24h", "7d", "30d"])
def test_each_period_and_filter_works(client, past, period):
    account = ProviderAccount.objects.get(code="sandbox-mail")
    for query in ("", f"&account={account.pk}", f"&project={past.pk}", "&channel=sms", "&tz=Asia/Kolkata"):
        response = client.get(f"{PAGE}?period={period}{query}")
        assert response.status_code == 200
        assert not response.context["form"].errors
        assert client.get(f"{LIVE}?{response.context['asked'].query}").status_code == 200


def test_a_custom_period_is_read_by_the_operators_clock(client, past):
    day = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")
    query = f"period=custom&since={day}T10:00&until={day}T12:00&tz=Asia/Kolkata"
    asked = client.get(f"{PAGE}?{query}").context["asked"]
    assert asked.scope.since.isoformat() == f"{day}T04:30:00+00:00"
    assert parse_qs(urlsplit(asked.messages()).query)["since"] == [f"{day}T04:30:00Z"]
    assert client.cookies["tz"].value == "Asia/Kolkata"
    assert client.get(PAGE).context["asked"].zone.key == "Asia/Kolkata"
    assert client.get(f"{LIVE}?{asked.query}").status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("period=forever", "period"),
        ("period=<script>alert(1)</script>", "period"),
        ("project=99999999999999999999999", "project"),
        ("project=1'--", "project"),
        ("channel=pigeon", "channel"),
        ("account=%00", "account"),
        ("tz=Mars/Olympus", "tz"),
        ("tz=../../etc/passwd", "tz"),
        ("period=custom", "since"),
        ("period=custom&since=2026-02-30T10:00", "since"),
        ("period=custom&since=0001-01-01T00:00", "since"),
        ("period=custom&since=9999-12-31T23:59", "since"),
        ("period=custom&since=2021-01-01T00:00", "since"),
        ("since=2026-03-02T00:00&until=2026-03-01T00:00", "until"),
        ("period=custom&since=nope", "since"),
    ],
)
def test_bad_input_is_said_at_its_field(client, query, field):
    response = client.get(f"{PAGE}?{query}")
    assert response.status_code == 200
    assert field in response.context["form"].errors
    assert "<script>alert" not in text(response)
    assert client.get(f"{LIVE}?{query}").status_code == 200


def test_names_are_escaped(client):
    project = make_project(code="evil", name="<script>alert(1)</script>")
    account = make_account(project, code="a", name="<b>x</b>")
    make_message(project, category="</script><script>alert(2)</script>")
    assert account
    page = text(client.get(PAGE))
    assert "<script>alert" not in page


def test_only_what_one_may_see_is_read(past):
    page = text(staff().get(PAGE))
    assert "nothing here that you may see" in page
    assert 'id="figures"' in page
    assert "sandbox-mail" not in page.split("asked-form")[0]
    page = text(staff("tracking.view_message").get(PAGE))
    assert "Delivery rate" in page
    assert "Due now" not in page


def test_silent_workers_are_said(client, past):
    assert "The workers are silent" in text(client.get(LIVE))
    Heartbeat.objects.create(name="tick", at=datetime.now(UTC))
    assert "The workers are silent" not in text(client.get(LIVE))


def test_the_queue_is_shown_by_account(client):
    project = make_project()
    account = make_account(project)
    for _ in range(3):
        make_message(project)
    found = client.get(PAGE).context["o"]
    assert [(lane.code, lane.due) for lane in found.lanes] == [(account.code, 3)]
    assert found.asked.filters == {}
    other = client.get(f"{PAGE}?channel=sms").context["o"]
    assert other.lanes == []


def test_pauses_are_said(client, past):
    Switch.objects.update_or_create(pk=1, defaults={"sending_paused": True, "reason": "moving house"})
    Project.objects.filter(pk=past.pk).update(paused=True)
    page = text(client.get(PAGE))
    assert "moving house" in page
    assert "Paused projects" in page


def test_those_who_bounce_again_and_again_are_sought_among_a_bounded_number(client, past, monkeypatch):
    again = "again@example.org"
    keys = [row.pk for row in Message.objects.filter(status="bounced").order_by("-pk")[:3]]
    Message.objects.filter(pk__in=keys).update(recipient=again)
    (first, *_) = client.get(PAGE).context["o"].bouncers
    assert (first.recipient, first.count) == (again, 3)
    cache.clear()
    monkeypatch.setattr(overview, "SEARCHED", 1)
    assert client.get(PAGE).context["o"].bouncers == []


# --- an empty installation


def test_an_empty_installation_says_what_to_do_and_loads_a_sample(client):
    page = text(client.get(PAGE))
    assert "what to do first" in page
    assert "Load sample traffic" in page
    assert client.get("/admin/overview/sample/").status_code == 405
    assert OrmQ.objects.count() == 0
    assert client.post("/admin/overview/sample/").status_code == 302
    assert OrmQ.objects.count() == 1
    assert f"0 of {first_steps.SAMPLE}" in text(client.get(PAGE))


def test_the_sample_comes_in_slices_and_ends(client):
    client.post("/admin/overview/sample/")
    first_steps.load(0)
    first_steps.load(first_steps.SLICE)
    progress = first_steps.progress()
    assert progress is not None and 100 <= progress.done <= 2 * first_steps.SLICE
    assert f"{progress.done} of {first_steps.SAMPLE}" in text(client.get(LIVE))
    before = OrmQ.objects.count()
    first_steps.load(first_steps.SAMPLE - first_steps.SLICE)
    assert OrmQ.objects.count() == before  # the last slice enqueues none
    assert client.post("/admin/overview/sample/").status_code == 302  # pressed twice
    assert OrmQ.objects.count() == before


def test_the_sample_needs_its_permissions():
    client = staff("tracking.view_message", "tracking.view_project")
    assert "Load sample traffic" not in text(client.get(PAGE))
    assert client.post("/admin/overview/sample/").status_code == 403


# --- static files


@pytest.mark.timeout(120)
def test_what_the_page_loads_is_small(client):
    page = text(client.get(PAGE))
    names = set(re.findall(r'(?:src|href)="/static/([^"]+\.(?:js|css|svg))"', page))
    assert {"vendor/plotly.min.js", "postroom/charts.js", "postroom/overview.css"} <= names
    total = 0
    for name in names:
        with open(finders.find(name), "rb") as file:
            content = file.read()
        total += min(len(QuickCompressor.compress_brotli(content)), len(QuickCompressor.compress_gzip(content)))
    assert total < 1_600_000
