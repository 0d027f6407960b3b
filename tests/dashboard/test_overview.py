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
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from config.static import QuickCompressor
from dashboard import diagnosis, first_steps, overview, overview_page
from dashboard.models import AlertRule, Incident
from dashboard.overview_tiles import Tile
from providers.models import Circuit, ProviderAccount
from tests.builders import make_account, make_counts, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking import weather
from tracking.counters import LATENCY, latency_bin
from tracking.models import Heartbeat, Message, Project, QueueRow, Switch
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


def test_an_unknown_filter_is_said_and_escaped(client):
    page = text(client.get(f"{PAGE}?bogus=1&<b>=2&e=1&channel=sms"))
    assert "There is no filter “bogus”: it was left out." in page
    assert "“&lt;b&gt;”" in page and "“e”" not in page
    assert "There is no filter" not in text(client.get(f"{PAGE}?period=7d&tz=UTC"))


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


@pytest.mark.parametrize("days", [6, 100, 130, 399])
def test_a_long_custom_period_works(client, past, days):
    since = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M")
    response = client.get(f"{PAGE}?period=custom&since={since}")
    assert response.status_code == 200
    assert not response.context["form"].errors
    assert "heat" in figures_of(text(response))


def _counts(project: Project, sent: int, **more: int) -> None:
    """So many messages that were handed over ten minutes ago."""
    good = sent - sum(more.get(name, 0) for name in ("failed", "bounced"))
    counts = {"created": sent + more.get("suppressed", 0), "sent": sent, "delivered": good, **more}
    make_counts(project, datetime.now(UTC).replace(second=0) - timedelta(minutes=10), counts)


HEALTHY, TOO_FEW = "Delivery is healthy", "Too few messages"


def _alive(sent: int) -> ProviderAccount:
    project = make_project()
    Heartbeat.objects.create(name="tick", at=datetime.now(UTC))
    _counts(project, sent)
    return make_account(project)


def test_health_needs_enough_messages(client):
    _alive(diagnosis.ENOUGH - 1)
    page = text(client.get(LIVE))
    assert TOO_FEW in page and HEALTHY not in page
    _counts(Project.objects.get(), 1)
    page = text(client.get(LIVE))
    assert HEALTHY in page and TOO_FEW not in page


def _open_incident(account: ProviderAccount) -> None:
    now = datetime.now(UTC)
    said = {"name": "x", "kind": "circuit", "severity": "info", "threshold": 1, "window": 5, "text": "x", "query": ""}
    Incident.objects.create(opened_at=now, last_at=now, worst_value=1, last_value=1, **said)


def _open_circuit(account: ProviderAccount) -> None:
    Circuit.objects.update_or_create(pk=account.pk, defaults={"open_until": datetime.now(UTC) + timedelta(minutes=1)})


def _old_backlog(account: ProviderAccount) -> None:
    make_message(account.projects.get())
    QueueRow.objects.update(due_at=datetime.now(UTC) - timedelta(minutes=6))


@pytest.mark.parametrize("trouble", [_open_incident, _open_circuit, _old_backlog])
def test_what_is_open_or_held_back_is_not_healthy(client, trouble):
    account = _alive(100)
    assert HEALTHY in text(client.get(LIVE))
    trouble(account)
    page = text(client.get(LIVE))
    assert HEALTHY not in page and TOO_FEW not in page


def _tile(client: Client, key: str) -> Tile:
    (found,) = (tile for tile in client.get(LIVE).context["o"].tiles if tile.key == key)
    return found


def test_tiles_say_where_their_list_differs(client):
    _counts(make_project(), 100, failed=8, suppressed=12)
    failures = _tile(client, "failure_rate")
    assert failures.notes == ("8 messages", "the list has 12 more, never sent")
    assert "late ones have arrived" in _tile(client, "slow_ratio").leads


def test_the_median_is_compared_with_the_median(client):
    """The slowest are slower than the day before, the median is the same."""
    project, now = make_project(), datetime.now(UTC).replace(second=0)
    for ago, slowest in ((timedelta(minutes=10), 60_000), (timedelta(days=1, hours=2), 5_000)):
        times = {LATENCY[latency_bin(1_000)]: 80, LATENCY[latency_bin(slowest)]: 20}
        make_counts(project, now - ago, {"created": 100, "sent": 100, "delivered": 100, "timed": 100, **times})
    median = _tile(client, "delivery_p50")
    assert median.change is not None and median.change.tone == "same"


def test_a_provider_has_one_colour_and_leads_to_its_page(client):
    """Of ten, the largest eight are drawn; one without any message stands in the table alone."""
    project = make_project()
    idle, *busy = [make_account(project, code=f"p{9 - place}") for place in range(10)]
    for place, account in enumerate(busy):
        counts = {"created": 20 + place, "sent": 20 + place, "delivered": 20, "bounced": place}
        bounces = {"bounced_hard": place} if place else {}
        make_counts(project, datetime.now(UTC) - timedelta(minutes=10), counts | bounces, account_id=account.pk)
    response = client.get(LIVE)
    found = response.context["o"]
    table = {row.code: row.swatch.fill for row in found.providers}
    delivery, bounces = (next(each for each in found.charts if each.key == key) for key in ("delivery", "bounces"))
    assert len(table) == 10
    assert {entry.name for entry in delivery.legend} == {account.code for account in busy[1:]}
    for chart in (delivery, bounces):
        legend = {entry.name: entry.swatch.fill for entry in chart.legend if entry.swatch}
        assert legend and legend.items() <= table.items()
        for trace in chart.figure["data"]:
            sample = next(entry.swatch for entry in chart.legend if entry.name == trace["name"])
            mark, pattern = trace["marker"].get("symbol", ""), trace["marker"].get("pattern", {}).get("shape", "")
            assert (sample.mark, sample.pattern) == (mark, pattern)
            assert trace["marker"]["color"].removeprefix("--c-") == table[trace["name"]].removeprefix("fill-c")
    assert f"/admin/providers/provideraccount/{idle.pk}/change/" not in text(response)
    assert text(response).count(f'href="/admin/providers/provideraccount/{idle.pk}/"') == 2  # providers, queue


# --- an empty installation


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small sample, without the pace of a demonstration."""
    for name, value in {"DAYS": 3, "MESSAGES": 90, "LIVE": 12, "PACE": 0.0}.items():
        monkeypatch.setattr(first_steps, name, value)
    monkeypatch.setattr(history, "CAMPAIGN_SHARE", 0.3)


def press(client: Client) -> int:
    """The button; with which moment the history ends."""
    assert client.post("/admin/overview/sample/").status_code == 302
    return int(client.session[overview_page.LOADING])


def tasks() -> list[tuple]:
    """What is enqueued, oldest first; taken out of the queue."""
    found = [row.task["args"] for row in OrmQ.objects.order_by("pk")]
    OrmQ.objects.all().delete()
    return found


def work_off() -> None:
    while found := tasks():
        for task, *numbers in found:
            import_string(task)(*numbers)


def test_an_empty_installation_says_what_to_do_and_loads_a_sample(client):
    page = text(client.get(PAGE))
    assert "what to do first" in page
    assert "Load sample traffic" in page
    assert client.get("/admin/overview/sample/").status_code == 405
    assert OrmQ.objects.count() == 0
    until = press(client)
    assert tasks() == [("dashboard.first_steps.load", until, 0)]
    page = text(client.get(PAGE))
    assert "0 of 14 days of history" in page and "the workers are silent" in page
    assert "Load sample traffic" not in page


@pytest.mark.django_db(transaction=True)
def test_the_sample_is_history_day_by_day_and_then_messages_of_now(client, quick):
    until = press(client)
    first_steps.load(until, 0)
    assert "1 of 3 days of history" in text(client.get(LIVE))
    assert "2 of 3 days" not in text(client.get(LIVE))
    first_steps.load(until, 1)
    assert "2 of 3 days of history" in text(client.get(LIVE))
    first_steps.load(until, 2)
    OrmQ.objects.all().delete()
    campaign = Message.objects.filter(category=weather.BAD_CAMPAIGN, status="bounced")
    assert campaign.exists() and AlertRule.objects.exists()
    first_steps.send(0)
    assert "5 of 12 messages of now" in text(client.get(LIVE))
    work_off()
    assert first_steps.progress(until) is None
    assert QueueRow.objects.count() == 12  # the dispatch loop has not run
    assert list(check.differences()) == []


def test_pressed_twice_the_sample_comes_once(client, quick):
    first, second = press(client), press(staff(*overview_page.MAY_LOAD))
    assert len(OrmQ.objects.all()) == 2
    first_steps.load(first, 0)
    first_steps.load(first, 0)  # the same task once more, because its worker died
    first_steps.load(second + 3, 0)
    assert [numbers[1:] for numbers in tasks()[2:]] == [(first, 1)]
    OrmQ.objects.all().delete()
    before = Message.objects.count()
    client.post("/admin/overview/sample/")  # there are messages by now
    assert (Message.objects.count(), OrmQ.objects.count()) == (before, 0)


def test_no_sample_goes_to_a_project_with_messages(client, quick):
    until = press(client)
    OrmQ.objects.all().delete()
    call_command("seed_demo", verbosity=0)
    make_message(Project.objects.get(code="demo"))  # a real one, before the worker came to the sample
    first_steps.load(until, 0)
    assert (Message.objects.count(), OrmQ.objects.count()) == (1, 0)
    assert "There are messages already" in text(client.post("/admin/overview/sample/", follow=True))
    assert OrmQ.objects.count() == 0


def test_a_sample_that_never_comes_is_not_waited_for_for_ever(client):
    until = press(client)
    assert first_steps.progress(until) is not None
    assert first_steps.progress(until - int(first_steps.GIVEN_UP.total_seconds())) is None


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
