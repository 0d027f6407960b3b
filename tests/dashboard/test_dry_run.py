"""How many messages a scope holds, and how both pages that ask for it say so."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard import dry_run, scope
from dashboard.models import BulkKind
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import superuser, text
from tracking import selection

pytestmark = pytest.mark.django_db
EXPORT, BULK = "/admin/tracking/export/plan/?category=a", f"/admin/dashboard/bulkoperation/plan/?kind={BulkKind.CANCEL}"
BUDGET = 12  # statements of the export's page, session and user included


@pytest.fixture
def project():
    found = make_project()
    make_account(found)
    return found


@pytest.fixture
def short_sighted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of two rows."""
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 2)
    monkeypatch.setattr(dry_run, "STEPS", 2)


def make(project, many: int) -> None:
    for _ in range(many):
        make_message(project, category="a")
    make_message(project, category="b")


def test_what_can_be_counted_is_counted_exactly(project):
    make(project, 7)
    counted = dry_run.count(scope.read("category=a"))
    assert (counted.matched, counted.exact, counted.about) == (7, True, 0)
    assert counted.groups == {("pending", project.accounts.get().pk): 7}
    client = superuser()
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(EXPORT))
    assert len(queries) <= BUDGET, [query["sql"][:90] for query in queries]
    assert '<span class="tile-figure">7</span> messages.' in shown and "about" not in shown


def test_none_is_a_number_too(project):
    shown = text(superuser().get(EXPORT))
    assert '<span class="tile-figure">0</span> messages.' in shown


def test_counting_is_given_up_after_a_bounded_way(project, short_sighted):
    make(project, 7)
    found = scope.read("category=a")
    with CaptureQueriesContext(connection) as queries:
        counted = dry_run.count(found)
    assert len(queries) == 5  # an edge and a count of each step, and the estimate
    assert (counted.matched, counted.exact) == (4, False)
    assert counted.looked_to is not None and counted.about >= 4


def test_counting_ends_with_enough(project, short_sighted, monkeypatch):
    monkeypatch.setattr(dry_run, "COUNTED", 2)
    make(project, 7)
    counted = dry_run.count(scope.read("category=a"))
    assert (counted.matched, counted.exact) == (2, False)


def test_both_pages_say_about_only_where_counting_was_given_up(project, short_sighted):
    make(project, 7)
    client = superuser()
    export, bulk = text(client.get(EXPORT)), text(client.get(f"{BULK}&category=a"))
    assert 'class="tile-figure">about ' in export and "4 were counted, as far as" in export
    assert "at least 4" in bulk and "match in all, by PostgreSQL’s estimate" in bulk
    assert "about" not in text(client.get(f"{BULK}&category=c"))
