"""The figures behind the overview's tiles: their counts, changes, lists, and what is said where nothing is tracked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import escape

import pytest
from django.core.cache import cache
from django.test import Client

from dashboard.overview_details import Detail
from tests.builders import make_counts, make_project
from tests.dashboard.people import superuser, text
from tracking.metrics import DEFINITIONS
from tracking.models import EngagementSettings, Project

pytestmark = pytest.mark.django_db
PAGE, LIVE = "/admin/", "/admin/overview/live/"
# Beside the overview, the pages that explain metrics.
EXPLAINED = (PAGE, "/admin/dashboard/alertrule/add/")


@pytest.fixture(autouse=True)
def nothing_kept_for_a_while() -> None:
    cache.clear()


@pytest.fixture
def client() -> Client:
    return superuser()


def _sent(project: Project, ago: timedelta = timedelta(minutes=10), **more: int) -> None:
    """A hundred messages that were delivered."""
    counts = {"created": 100, "sent": 100, "delivered": 100, **more}
    make_counts(project, datetime.now(UTC).replace(second=0) - ago, counts)


def _details(client: Client, query: str = "") -> dict[str, Detail]:
    groups = client.get(f"{LIVE}?{query}").context["o"].details
    return {row.key: row for group in groups for row in group.rows}


def test_every_definition_has_a_tooltip_somewhere(client):
    _sent(make_project())
    pages = "".join(text(client.get(url)) for url in EXPLAINED)
    missing = [
        key
        for key, each in DEFINITIONS.items()
        if f"<strong>{escape(each.name)}</strong> {escape(each.formula)}</span>" not in pages
    ]
    assert missing == []


def test_rates_have_their_counts_and_their_change(client):
    project = make_project()
    _sent(project, read=30, clicked=10, machine_opened=5, complained=1, unsubscribed=2)
    _sent(project, timedelta(days=1, hours=2), read=40, clicked=10, complained=0, unsubscribed=1)
    found = _details(client)
    shown = {key: (found[key].figure, found[key].count) for key in ("read_rate", "click_rate", "machine_open_rate")}
    assert shown == {"read_rate": ("30.0 %", "30"), "click_rate": ("10.0 %", "10"), "machine_open_rate": ("5.0 %", "5")}
    changes = {key: found[key].change for key in ("read_rate", "click_rate", "complaint_rate", "machine_open_rate")}
    assert {key: (each.text, each.tone) for key, each in changes.items() if each} == {
        "read_rate": ("10.0 points", "worse"),
        "click_rate": ("", "same"),
        "complaint_rate": ("1.0 points", "worse"),  # none before: that is something to compare with
        "machine_open_rate": ("5.0 points", "same"),  # neither better nor worse
    }
    assert "status=read" in found["read_rate"].url


def test_what_is_not_tracked_is_no_zero(client):
    project = make_project()
    _sent(project)
    found = _details(client)
    assert (found["click_rate"].figure, found["click_rate"].why) == ("–", "not tracked: click tracking is off")
    assert found["complaint_rate"].figure == "0.0 %"  # providers report these unasked
    assert "not tracked: click tracking is off" in text(client.get(PAGE))


def test_what_is_tracked_is_a_zero(client):
    project, other = make_project(), make_project(code="other")
    EngagementSettings.objects.create(project=project, short_links=True, push_callbacks=True)
    _sent(project)
    _sent(other)
    found = _details(client, f"project={project.pk}")
    assert (found["click_rate"].figure, found["read_rate"].figure) == ("0.0 %", "0.0 %")
    assert found["unsubscribe_rate"].why == "not tracked: one-click unsubscribe is off"
    assert _details(client)["click_rate"].figure == "0.0 %"
    assert _details(client, f"project={other.pk}")["click_rate"].why


def test_what_was_reported_is_shown_whatever_is_turned_on(client):
    _sent(make_project(), unsubscribed=1)
    assert _details(client)["unsubscribe_rate"].figure == "1.0 %"


def test_without_deliveries_there_is_a_reason(client):
    project = make_project()
    counts = {"created": 3, "suppressed": 2, "pending": 1}
    make_counts(project, datetime.now(UTC) - timedelta(minutes=10), counts)
    found = _details(client)
    assert found["complaint_rate"].why == "nothing was delivered"
    assert found["delivery_p99"].why == "nothing was delivered"
    assert found["attempt_success"].why == "nothing was tried"
    assert (found["suppressed"].count, found["suppressed"].figure) == ("2", "66.7 %")
    assert "status=failed" in found["suppressed"].url and "reason=suppressed" in found["suppressed"].url
    assert found["sent"].url == "" and found["bounced"].url == ""
