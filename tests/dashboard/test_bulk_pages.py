"""The pages of bulk operations: dry run, start, progress, results, buttons."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dashboard import bulk_work
from dashboard.admin import bulk as bulk_admin
from dashboard.models import BulkItem, BulkOperation
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tests.tracking.lives import fail, status_of

pytestmark = pytest.mark.django_db
LIST, BULK, PLAN = "/admin/tracking/message/", "/admin/dashboard/bulkoperation/", "/admin/dashboard/bulkoperation/plan/"
MAY = ("tracking.view_message", "dashboard.view_bulkoperation", "dashboard.run_bulkoperation", "tracking.retry_message")


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def project():
    found = make_project()
    make_account(found)
    return found


def failed(project, count: int) -> list:
    keys = [make_message(project) for _ in range(count)]
    for key in keys:
        fail(key)
    return keys


def form_of(shown: str, **kw) -> dict:
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown))
    hidden.pop("csrfmiddlewaretoken", None)
    return {**{name: value.replace("&amp;", "&") for name, value in hidden.items()}, "reason": "r", "rate": "100", **kw}


def page(operation) -> str:
    return reverse("admin:dashboard_bulkoperation_change", args=[operation.pk])


def control(name, operation) -> str:
    return reverse(f"admin:dashboard_bulkoperation_{name}", args=[operation.pk])


def test_from_the_list_through_the_dry_run_to_the_end(client, project):
    keys = failed(project, 3)
    make_message(project)
    listed = text(client.get(f"{LIST}?status=failed"))
    assert f"{PLAN}?kind=retry&amp;status=failed" in listed
    shown = text(client.get(f"{PLAN}?kind=retry&status=failed"))
    assert "Retry 3 messages</button>" in shown
    assert not BulkOperation.objects.exists()
    response = client.post(PLAN, form_of(shown), follow=True)
    operation = BulkOperation.objects.get()
    assert response.redirect_chain[-1][0] == page(operation)
    assert "every 2s" in text(response)
    again = client.post(PLAN, form_of(shown), follow=True)
    assert "started already, by ops" in text(again) and BulkOperation.objects.count() == 1
    bulk_work.work(seconds=20)
    piece = text(client.get(control("progress", operation)))
    assert "<strong>3</strong> of 3 messages" in piece and "every 2s" not in piece
    assert {status_of(key) for key in keys} == {"pending"}
    assert str(keys[0]) in text(client.get(page(operation)))


def test_a_selection_leads_to_the_dry_run(client, project):
    keys = failed(project, 3)
    chosen = {"action": "bulk_retry", "_selected_action": [str(keys[0]), str(keys[2])]}
    response = client.post(LIST, chosen)
    assert response.status_code == 302 and response["Location"].startswith(f"{PLAN}?kind=retry&ids=")
    shown = text(client.get(response["Location"]))
    assert "Retry 2 messages</button>" in shown
    assert "delete_selected" not in text(client.get(LIST))


@pytest.mark.parametrize(
    "bad",
    [
        {"reason": ""},
        {"reason": "x" * 301},
        {"reason": "\0"},
        {"rate": "0"},
        {"rate": "-1"},
        {"rate": "nan"},
        {"rate": "x"},
        {"rate": "1000"},
        {"token": "x"},
        {"seen_at": "2020-01-01"},
        {"seen_at": "never"},
        {"seen_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()},
        {"query": "status=nonsense"},
        {"query": "nonsense=1"},
    ],
)
def test_a_bad_form_says_what_is_wrong_and_starts_nothing(client, project, bad):
    failed(project, 1)
    form = form_of(text(client.get(f"{PLAN}?kind=retry&status=failed")))
    response = client.post(PLAN, {**form, **bad})
    assert response.status_code == 200
    assert 'role="alert"' in text(response) or "errorlist" in text(response)
    assert not BulkOperation.objects.exists()


def test_retry_via_wants_an_account(client, project):
    failed(project, 1)
    other = make_account(project, code="the-other")
    shown = text(client.get(f"{PLAN}?kind=retry_via&status=failed"))
    assert "through each account" in shown and "the-other" in shown
    assert "Choose the account" in text(client.post(PLAN, form_of(shown)))
    assert "from the list" in text(client.post(PLAN, form_of(shown, via="999999")))
    client.post(PLAN, form_of(shown, via=other.pk))
    assert BulkOperation.objects.get().account_id == other.pk


@pytest.mark.parametrize("query", ["", "kind=x", "kind=%00"])
def test_an_unknown_kind_is_not_found(client, query):
    assert client.get(f"{PLAN}?{query}").status_code == 404


@pytest.mark.parametrize(
    "query", ["status=x", "foo=1", "ids=x", "since=2026-02-31", "q=%00", "via=%00", "via=" + "9" * 30]
)
def test_a_dry_run_of_a_bad_scope_says_so(client, query):
    assert client.get(f"{PLAN}?kind=retry_via&{query}").status_code == 200


def test_pause_resume_and_cancel_by_buttons_with_history(client, project):
    failed(project, 2)
    client.post(PLAN, form_of(text(client.get(f"{PLAN}?kind=retry&status=failed"))))
    operation = BulkOperation.objects.get()
    for name, said in (("pause", "Paused."), ("pause", "Not done"), ("resume", "Resumed."), ("cancel", "Cancelled.")):
        assert said in text(client.post(control(name, operation), follow=True))
        assert client.get(control(name, operation)).status_code == 405
    assert "Not done" in text(client.post(control("cancel", operation), follow=True))
    history = text(client.get(reverse("admin:dashboard_bulkoperation_history", args=[operation.pk])))
    assert "Paused" in history and "Cancelled" in history


def test_permissions(project):
    failed(project, 1)
    viewer, runner = staff("tracking.view_message", "dashboard.view_bulkoperation"), staff(*MAY)
    assert PLAN not in text(viewer.get(LIST)) and "bulk_retry" not in text(viewer.get(LIST))
    assert viewer.get(f"{PLAN}?kind=retry").status_code == 403
    assert runner.get(f"{PLAN}?kind=cancel").status_code == 403  # may retry, may not cancel
    shown = text(runner.get(f"{PLAN}?kind=retry"))
    assert viewer.post(PLAN, form_of(shown)).status_code == 403
    runner.post(PLAN, form_of(shown))
    operation = BulkOperation.objects.get()
    assert viewer.get(page(operation)).status_code == 200
    assert "Pause</button>" not in text(viewer.get(page(operation)))
    for name in ("pause", "resume", "cancel"):
        assert viewer.post(control(name, operation)).status_code == 403
    outsider = staff("tracking.view_project")
    for url in (BULK, page(operation), control("progress", operation)):
        assert outsider.get(url).status_code == 403
    assert Client().get(control("progress", operation)).status_code == 302


def test_hostile_texts_are_escaped(client, project):
    failed(project, 1)
    hostile = "<script>alert(1)</script>"
    shown = text(client.get(f"{PLAN}?kind=retry&tag={hostile}"))
    assert hostile not in shown
    client.post(PLAN, form_of(text(client.get(f"{PLAN}?kind=retry&status=failed")), reason=hostile))
    for url in (BULK, page(BulkOperation.objects.get())):
        assert hostile not in text(client.get(url))


def test_results_page_by_page_and_by_outcome_in_few_queries(client, project, monkeypatch):
    monkeypatch.setattr(bulk_admin, "ITEMS", 2)
    keys = sorted(failed(project, 5))
    client.post(PLAN, form_of(text(client.get(f"{PLAN}?kind=retry&status=failed"))))
    operation = BulkOperation.objects.get()
    bulk_work.work(seconds=20)
    BulkItem.objects.filter(message_id=keys[3]).update(outcome="refused")
    shown, url = [], page(operation)
    while url:
        with CaptureQueriesContext(connection) as queries:
            found = text(client.get(url))
        assert len(queries) <= 7
        shown += re.findall(r"message/([0-9a-f-]{36})/", found)
        more = re.search(r'rel="next" href="([^"]+)"', found)
        url = more and page(operation) + more[1].replace("&amp;", "&")
    assert shown == [str(key) for key in keys]
    assert re.findall(r"message/([0-9a-f-]{36})/", text(client.get(f"{page(operation)}?outcome=refused"))) == [
        str(keys[3])
    ]
    for query in ("outcome=x", "after=x", "after=%00", f"after={uuid4()}"):
        assert client.get(f"{page(operation)}?{query}").status_code == 200
