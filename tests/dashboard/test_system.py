"""The system page: is the installation itself well, and what can be stopped."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_q.models import OrmQ

from dashboard import system
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tests.dashboard.test_configuration import NO_GRANTS
from tracking import jobs
from tracking.models import CheckRun, Heartbeat, Project, Switch
from tracking.services import check_run

pytestmark = pytest.mark.django_db
PAGE, LIVE = "/admin/system/", "/admin/system/live/"


@pytest.fixture
def client() -> Client:
    return superuser()


def beat(name: str, *, seconds_ago: float = 0, **detail) -> None:
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    Heartbeat.objects.update_or_create(name=name, defaults={"at": at, "detail": detail})


def test_an_installation_without_workers_says_so(client):
    shown = text(client.get(PAGE))
    assert "5 of 5 give no sign" in shown and "manage.py work" in shown
    assert "No check has run yet" in shown and "There is no provider account yet" in shown


def test_loops_with_their_age_and_process(client):
    beat("dispatch:0", pid=4711, in_flight=3)
    beat("receive:0", seconds_ago=61, pid=4712)
    beat("tick:0", seconds_ago=61)
    found = {each.name: each for each in client.get(PAGE).context["live"].beats}
    assert (found["dispatch:0"].pid, found["dispatch:0"].in_flight, found["dispatch:0"].late) == (4711, 3, False)
    assert found["receive:0"].late  # loops beat every two seconds, the tick every minute
    assert not found["tick:0"].late


def test_the_queue_by_account(client):
    project = make_project()
    account = make_account(project)
    for _ in range(2):
        make_message(project)
    make_message(project, scheduled_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    (lane,) = client.get(LIVE).context["live"].lanes
    assert (lane.code, lane.due, lane.scheduled, lane.in_flight) == (account.code, 2, 1, 0)
    assert lane.oldest is not None
    assert f'href="/admin/providers/provideraccount/{account.pk}/"' in text(client.get(LIVE))


def test_both_parts_take_a_fixed_number_of_queries(client):
    for _ in range(5):
        project = make_project()
        make_account(project)
        make_message(project)
    CheckRun.objects.bulk_create(CheckRun(started_at=datetime.now(UTC)) for _ in range(20))
    client.get(PAGE)
    with CaptureQueriesContext(connection) as live:
        client.get(LIVE)
    with CaptureQueriesContext(connection) as page:
        client.get(PAGE)
    assert len(live) <= 11
    assert len(page) <= 19


def test_the_refreshed_part_is_a_fragment_that_nobody_keeps(client):
    response = client.get(LIVE)
    assert "no-store" in response["Cache-Control"]
    assert "<html" not in text(response)
    shown = text(client.get(PAGE))
    assert 'hx-trigger="live"' in shown and f'hx-get="{LIVE}"' in shown
    assert '"allowEval": false' in shown and '"includeIndicatorStyles": false' in shown
    assert " style=" not in shown and " onclick" not in shown


def test_pausing_everything_needs_a_reason_and_says_it(client):
    url = reverse("admin:system_pause")
    for reason in ("", "   ", "\x00"):
        assert "Reason: say why" in text(client.post(url, {"reason": reason}, follow=True))
    assert not Switch.objects.filter(sending_paused=True).exists()
    shown = text(client.post(url, {"reason": "<b>bad campaign</b>"}, follow=True))
    assert "Sending is paused" in shown and "&lt;b&gt;bad campaign" in shown and "<b>bad" not in shown
    shown = text(client.post(url, {"reason": "another"}, follow=True))
    assert "was paused already" in shown and Switch.objects.get().reason == "<b>bad campaign</b>"
    assert "goes on" in text(client.post(reverse("admin:system_resume"), follow=True))
    assert "was not paused" in text(client.post(reverse("admin:system_resume"), follow=True))
    assert Switch.objects.get().reason == ""


def test_pausing_one_project(client):
    project, other = make_project(code="shop"), make_project()
    url = reverse("admin:system_pause_project", args=[project.pk])
    client.post(url, {"reason": "x" * 300})
    project.refresh_from_db()
    assert project.paused and len(project.paused_reason) == 200
    assert not Project.objects.get(pk=other.pk).paused
    client.post(reverse("admin:system_resume_project", args=[project.pk]))
    project.refresh_from_db()
    assert (project.paused, project.paused_reason) == (False, "")
    client.post(url, {"reason": "again"})
    form = {**NO_GRANTS, "retry": ""}  # resumed on its own page
    assert client.post(f"/admin/tracking/project/{project.pk}/change/", form).status_code == 302
    project.refresh_from_db()
    assert (project.paused, project.paused_reason) == (False, "")
    for pk in (0, 2**63, 10**30):
        assert client.post(f"/admin/system/projects/{pk}/pause/", {"reason": "x"}).status_code == 404


def test_buttons_are_only_there_for_those_who_may():
    make_project()
    shown = text(staff("tracking.view_checkrun").get(PAGE))
    assert "/pause/" not in shown and "/check/" not in shown
    assert "/projects/" in text(staff("tracking.view_checkrun", "tracking.pause_project").get(PAGE))
    assert staff("tracking.view_message").get(PAGE).status_code == 403
    assert "/admin/system/" not in text(staff("tracking.view_message").get("/admin/"))


def test_the_check_can_be_asked_for(client):
    client.post(reverse("admin:system_check"))
    assert OrmQ.objects.get().task["args"] == ("tracking.tasks.nightly_check",)


def test_results_of_the_check_are_shown(client):
    now = datetime.now(UTC)
    CheckRun.objects.create(started_at=now, finished_at=now, found=0)
    assert "agrees" in text(client.get(PAGE))
    CheckRun.objects.create(
        started_at=now, finished_at=now + timedelta(seconds=2), found=250, differences=["<i>message 1</i>: is sent"]
    )
    shown = text(client.get(PAGE))
    assert "250 differences" in shown and "&lt;i&gt;message 1" in shown and "2.0 s" in shown
    CheckRun.objects.create(started_at=now)
    assert "ended without a result" in text(client.get(PAGE))
    CheckRun.objects.create(started_at=now, finished_at=now, error="OperationalError")
    assert "broke off" in text(client.get(PAGE))


def test_jobs_with_their_last_run_and_result(client):
    jobs.declare()
    beat("job:prune", seconds=1.5, fault="")
    beat("job:ensure_partitions", seconds=0.1, fault="OperationalError")
    found = {row.scheduled.job.task: row for row in client.get(PAGE).context["live"].jobs}
    assert (found["prune"].scheduled.seconds, found["prune"].scheduled.fault) == (1.5, "")
    assert found["ensure_partitions"].scheduled.fault == "OperationalError"
    assert found["tick"].scheduled.last_run is None and not found["tick"].overdue
    assert "OperationalError" in text(client.get(LIVE))
    jobs.Schedule.objects.filter(name="prune").update(next_run=datetime.now(UTC) - timedelta(minutes=6))
    assert "overdue" in text(client.get(LIVE))


def test_partitions_versions_and_migrations(client):
    still = client.get(PAGE).context["still"]
    assert [table.name for table in still.tables] == ["message", "content", "attempt", "event", "inbound"]
    assert all(table.bytes > 0 and table.partitions for table in still.tables)
    assert still.migrations == "" and still.weeks_ahead >= 1
    assert {name for name, _ in still.versions} == {"Postroom", "Python", "Django", "PostgreSQL"}
    assert all(version[0].isdigit() for _, version in still.versions)


def test_what_the_launcher_noted(tmp_path):
    told = {"program": "cluster", "at": "2026-01-01T00:00:00+00:00", "why": "no heartbeat for 30 s", "count": 3}
    (tmp_path / "cluster.restart.json").write_text(json.dumps(told))
    (tmp_path / "web.restart.json").write_text('{"program": "web"')  # half written
    (found,) = system.restarts(tmp_path)
    assert (found.program, found.why, found.count, found.at.year) == ("cluster", "no heartbeat for 30 s", 3, 2026)
    assert system.restarts(tmp_path / "nowhere") == []


@pytest.mark.django_db(transaction=True)
def test_one_check_at_a_time_and_its_result_is_kept():
    project = make_project()
    make_account(project)
    key = make_message(project)
    ran = check_run.run()
    assert ran is not None and (ran.found, ran.error) == (0, "") and ran.finished_at is not None
    with connection.cursor() as cursor:
        cursor.execute("UPDATE message SET status = 'delivered' WHERE id = %s", [key])
    ran = check_run.run()
    assert ran is not None and ran.found >= 1
    assert any(str(key) in each for each in CheckRun.objects.first().differences)
    assert not check_run.running()


@pytest.mark.django_db(transaction=True)
def test_old_results_are_forgotten(monkeypatch):
    monkeypatch.setattr(check_run, "KEPT_RUNS", 3)
    for _ in range(5):
        check_run.run()
    assert CheckRun.objects.count() == 3
