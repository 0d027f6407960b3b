"""The pages of retention and erasure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ

from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking import tasks
from tracking.models import Erasure, Message, PurgeRun, Retention

pytestmark = pytest.mark.django_db
LIST, ERASURES = "/admin/tracking/retention/", "/admin/tracking/erasure/"


@pytest.fixture
def client() -> Client:
    return superuser()


def test_every_project_has_a_policy_that_can_be_changed(client: Client) -> None:
    project = make_project(code="shop")
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(LIST))
    assert len(queries) <= 20
    assert "Pro: 90 days" in shown and "default" in shown and "Nothing is past its retention" in shown
    url = f"{LIST}{project.pk}/change/"
    assert client.post(url, {"plan": "free", "days": "77", "content_days": "10"}).status_code == 302
    stored = Retention.objects.get()
    assert (stored.plan, stored.days, stored.content_days) == ("free", 30, 10)
    assert LogEntry.objects.get_for_object(stored).count() == 1
    assert client.post(url, {"plan": "custom", "days": "365", "content_days": "300"}).status_code == 302
    assert Retention.objects.get().days == 365
    assert client.get(f"{LIST}999999/change/").status_code == 404


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"plan": "free", "content_days": "31"}, "not kept longer than its message: 30 days"),
        ({"plan": "custom", "days": "", "content_days": "5"}, "Say how many"),
        ({"plan": "custom", "days": "0", "content_days": "5"}, "greater than or equal to 1"),
        ({"plan": "custom", "days": "9999", "content_days": "5"}, "less than or equal to 3650"),
        ({"plan": "gold", "content_days": "5"}, "not one of the available choices"),
        ({"plan": "free", "content_days": "5", "export_first": "on"}, "PURGE_EXPORT_DIR is not set"),
    ],
)
def test_a_wrong_policy_names_its_field(client: Client, wrong: dict[str, str], said: str) -> None:
    project = make_project()
    assert said in text(client.post(f"{LIST}{project.pk}/change/", wrong))
    assert not Retention.objects.exists()


def test_a_purge_by_hand_and_its_page(client: Client) -> None:
    answer = client.post(f"{LIST}run/")
    run = PurgeRun.objects.get()
    assert answer["Location"] == f"{LIST}run/{run.pk}/" and OrmQ.objects.count() == 1
    page = client.get(answer["Location"])
    assert page["Refresh"] == "2" and "running" in text(page)
    assert "at work already" in text(client.post(f"{LIST}run/", follow=True))
    run.finished_at = datetime.now(UTC)
    run.counts, run.dropped = {"shop": {"message": 5000}}, [["message_2026w01", 1_000_000, 2**30]]
    run.held = ["message of the week from 2026-01-05 is not dropped whole: <b>"]
    run.save()
    page = client.get(answer["Location"])
    assert "Refresh" not in page
    for said in ("message_2026w01", "1,000,000", "message 5,000", "&lt;b&gt;"):
        assert said in text(page)


def test_an_erasure_by_hand_and_its_certificate(client: Client) -> None:
    project = make_project()
    make_account(project)
    key = make_message(project, recipient="ada@example.org")
    wanted: dict[str, Any] = {"project": project.pk, "channel": "email", "recipient": "Ada@example.org"}
    assert "It is not an e-mail address" in text(client.post(f"{ERASURES}add/", {**wanted, "recipient": "nobody"}))
    named = {**wanted, "reason": "ada@example.org wants it"}
    assert "It names the recipient" in text(client.post(f"{ERASURES}add/", named))
    assert not Erasure.objects.exists()
    answer = client.post(f"{ERASURES}add/", {**wanted, "reason": "ticket 7"})
    erasure = Erasure.objects.get()
    assert answer["Location"] == f"{ERASURES}{erasure.pk}/change/"
    page = client.get(answer["Location"])
    assert page["Refresh"] == "2"
    tasks.erase(erasure.pk)
    page = client.get(answer["Location"])
    assert "Refresh" not in page and "This is the certificate" in text(page) and "ticket 7" in text(page)
    assert Message.objects.get(pk=key).recipient == "(erased)"
    for shown in (text(page), text(client.get(ERASURES)), str(list(LogEntry.objects.values()))):
        assert "ada@example.org" not in shown.lower()


def test_viewers_look_and_do_not_touch() -> None:
    project = make_project()
    viewer = staff("tracking.view_retention", "tracking.view_erasure")
    assert "Purge now" not in text(viewer.get(LIST))
    assert viewer.post(f"{LIST}{project.pk}/change/", {"plan": "free", "content_days": "1"}).status_code == 403
    assert viewer.post(f"{LIST}run/").status_code == 403
    assert viewer.get(f"{ERASURES}add/").status_code == 403 and viewer.get(ERASURES).status_code == 200
