"""/metrics: who may read it, and that the figures are those of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from providers.models import Circuit
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import text
from tracking.models import Heartbeat, MetricDelta

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def token(settings) -> None:
    settings.METRICS_TOKEN = "scrape-me"


def scrape() -> dict[tuple, float]:
    response = Client().get("/metrics", headers={"Authorization": "Bearer scrape-me"})
    assert response.status_code == 200 and response["Content-Type"].startswith("text/plain")
    return {
        (sample.name.removeprefix("postroom_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text(response))
        for sample in family.samples
    }


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "bearer scrape-me", "Basic c2NyYXBlLW1l", "Bearer ä"])
def test_without_the_token_nothing_is_told(header):
    response = Client().get("/metrics", headers={"Authorization": header} if header else {})
    assert response.status_code == 401
    assert "postroom_" not in text(response)


def test_without_a_setting_there_is_no_such_page(settings):
    settings.METRICS_TOKEN = ""
    for header in ("Bearer ", "Bearer", ""):
        assert Client().get("/metrics", headers={"Authorization": header}).status_code == 404


def test_it_is_only_read():
    assert Client().post("/metrics", headers={"Authorization": "Bearer scrape-me"}).status_code == 405


def test_the_figures_are_those_of_the_database():
    project = make_project()
    account = make_account(project, code="mail")
    for _ in range(3):
        make_message(project)
    make_message(project, scheduled_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    Circuit.objects.update_or_create(account=account, defaults={"open_until": datetime.now(UTC)})
    Heartbeat.objects.create(name="tick:0", at=datetime.now(UTC) - timedelta(seconds=30))
    found = scrape()
    assert found["queue_messages", "mail", "email", "due"] == 3
    assert found["queue_messages", "mail", "email", "scheduled"] == 1
    assert found["queue_oldest_seconds", "mail", "email"] >= 0
    assert found["circuit_open", "mail"] == 1
    assert found["messages_last_hour", "mail", "email", "created"] == 4
    assert found["messages_last_hour", "mail", "email", "pending"] == 4
    assert found["receipts_unmatched",] == 0
    assert 30 <= found["heartbeat_age_seconds", "tick:0"] < 60
    assert found["heartbeat_age_seconds", "dispatch:0"] == -1
    MetricDelta.objects.update(minute=datetime.now(UTC) - timedelta(minutes=61))
    assert ("messages_last_hour", "mail", "email", "created") not in scrape()


def test_a_scrape_takes_a_fixed_number_of_queries():
    for _ in range(4):
        project = make_project()
        make_account(project)
        make_message(project)
    with CaptureQueriesContext(connection) as queries:
        scrape()
    assert len(queries) <= 11
