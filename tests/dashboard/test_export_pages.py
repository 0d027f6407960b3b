"""The pages of exports: from the list's button to the file, progress, buttons, what is on record."""

from __future__ import annotations

import re

import pytest
from auditlog.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking import selection
from tracking.models import Export
from tracking.selection import Filters
from tracking.services import export_work, exports

pytestmark = pytest.mark.django_db
LIST, EXPORTS, PLAN = "/admin/tracking/message/", "/admin/tracking/export/", "/admin/tracking/export/plan/"
FORM = {"format": "csv", "columns": ["id", "recipient"]}


@pytest.fixture(autouse=True)
def directory(tmp_path, settings) -> None:
    settings.EXPORT_DIR = tmp_path


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def project():
    found = make_project()
    make_account(found)
    return found


def made(project, **kw) -> Export:
    return exports.request(**{"project": project, "filters": Filters(), "by": "test", **kw})


def at(name: str, export: Export) -> str:
    return reverse(f"admin:tracking_export_{name}", args=[export.pk])


def test_from_the_list_to_the_file(client, project):
    make_message(project, category="a", recipient="<b>@example.org".replace("<b>", "ada"))
    make_message(project, category="b")
    link = re.search(r'href="(/admin/tracking/export/plan/\?[^"]*)"', text(client.get(f"{LIST}?category=a&time=24h")))
    shown = text(client.get(link[1].replace("&amp;", "&")))
    query = re.search(r'name="query" value="([^"]*)"', shown)[1].replace("&amp;", "&")
    assert "Category" in shown and 'value="recipient"' in shown
    answer = client.post(PLAN, {**FORM, "query": query})
    export = Export.objects.get()
    assert answer.status_code == 302 and answer["Location"] == at("change", export)
    assert export.by == "ops" and export.project is None and export.filters["category"] == "a"
    assert "data-live" in text(client.get(at("change", export)))
    export_work.work(seconds=60)
    page = text(client.get(at("change", export)))
    export.refresh_from_db()
    assert "data-live" not in page and export.sha256 in page and "1</strong> row" in page
    fetched = client.post(at("download", export), follow=True)
    assert b"".join(fetched.streaming_content).decode().splitlines()[0] == "id,recipient"
    said = LogEntry.objects.filter(object_pk=str(export.pk)).order_by("pk")
    assert [entry.changes for entry in said][1] == {"file": ["", "downloaded"]}
    assert not any("example.org" in str(entry.changes) + entry.object_repr for entry in said)


def test_every_scope_can_be_exported(client, project):
    """What the list finds is what stands in the file."""
    for query in (
        *("q=ada@example.org", "q=to:ada@example.org tag:x", "failure=timeout&time=24h", "q=error:421"),
        *(f"project={project.pk}&status=pending,failed", "bounce=hard", "tag=x", "q=id:01234567", f"batch={2**62}"),
    ):
        Export.objects.all().delete()
        key = make_message(project, tags=["x"])
        assert client.post(PLAN, {**FORM, "query": query}).status_code == 302, query
        export_work.work(seconds=60)
        export = Export.objects.get()
        assert export.state == "completed", (query, export.fault)
        listed = str(key) in text(client.get(f"{LIST}?{query}"))
        assert (export.rows > 0) == listed, query


def test_a_selection_keeps_its_project(client, project):
    other = make_project()
    make_account(other)
    make_message(other)
    key = make_message(project)
    client.post(PLAN, {**FORM, "query": f"project={project.pk}"})
    export_work.work(seconds=60)
    export = Export.objects.get()
    assert export.project == project and export.rows == 1 and str(key)


def test_what_the_form_refuses(client, project):
    for wrong in ({"format": "xlsx"}, {"columns": []}, {"columns": ["id", "password"]}, {"query": "status=lost"}):
        answer = client.post(PLAN, {**FORM, "query": "", **wrong})
        assert answer.status_code == 200, wrong
    assert "cannot be used" in text(client.get(f"{PLAN}?nonsense=1"))
    for _ in range(exports.MAX_UNFINISHED):
        made(project)
    assert "Not started" in text(client.post(PLAN, {**FORM, "query": f"project={project.pk}"}))
    assert Export.objects.count() == exports.MAX_UNFINISHED


def test_a_failed_one_is_tried_again(client, project, settings):
    make_message(project)
    settings.EXPORT_MAX_GB = 0
    export = made(project)
    export_work.work(seconds=60)
    page = text(client.get(at("change", export)))
    assert "larger than 0 GB" in page and "deed-retry" in page and "deed-download" not in page
    settings.EXPORT_MAX_GB = 1
    client.post(at("retry", export))
    export_work.work(seconds=60)
    assert "deed-download" in text(client.get(at("change", export)))
    assert "Not done" in text(client.post(at("retry", export), follow=True))


def test_deleting(client, project, tmp_path):
    export = made(project)
    export_work.work(seconds=60)
    assert list(tmp_path.iterdir())
    answer = client.post(at("remove", export))
    assert answer["Location"] == EXPORTS and not Export.objects.exists() and not list(tmp_path.iterdir())
    assert client.post(at("remove", export)).status_code == 404


def test_what_is_not_there_cannot_be_downloaded(client, project):
    export = made(project)
    assert "no file to download" in text(client.post(at("download", export), follow=True))
    assert client.get(at("download", export)).status_code == 405


def test_what_applications_say_is_escaped(client, project):
    hostile = "<script>alert(1)</script>"
    export = made(project, filters=Filters(category=hostile), by=hostile)
    page = text(client.get(at("change", export)))
    assert hostile not in page and "&lt;script&gt;" in page


def test_who_sees_which_buttons(project):
    make_message(project)
    export = made(project)
    export_work.work(seconds=60)
    reader = staff("tracking.view_export", "tracking.view_message")
    page = text(reader.get(at("change", export)))
    assert "deed-" not in page and "Export…" not in text(reader.get(LIST))
    assert reader.get(PLAN).status_code == reader.post(at("download", export)).status_code == 403
    assert text(reader.get(at("progress", export))).count("<section") == 1


def test_the_list_costs_the_same_however_many_there_are(client, project, monkeypatch):
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 2)
    make_message(project)
    made(project)
    client.get(EXPORTS)
    with CaptureQueriesContext(connection) as few:
        client.get(EXPORTS)
    for _ in range(5):
        made(project)
    with CaptureQueriesContext(connection) as many:
        assert "pending" in text(client.get(EXPORTS))
    assert len(many) == len(few) <= 10
    with CaptureQueriesContext(connection) as page:
        client.get(at("change", Export.objects.first()))
    assert len(page) <= 10
