"""Saved views and the choice of columns: what is remembered of a list."""

from __future__ import annotations

import pytest
from django.test import Client

from dashboard.models import SavedView
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text

pytestmark = pytest.mark.django_db
LIST, VIEWS = "/admin/tracking/message/", "/admin/dashboard/savedview/"
MAY = ("tracking.view_message", *(f"dashboard.{verb}_savedview" for verb in ("add", "view", "change", "delete")))


@pytest.fixture
def client() -> Client:
    return superuser()


def test_a_view_is_saved_canonically_opened_renamed_shared_and_deleted(client):
    offered = text(client.get(f"{LIST}?status=failed&channel="))
    assert f"{VIEWS}add/?query=status%3Dfailed" in offered
    form = {"name": "Bad <b>ones</b>", "query": "?status=failed,bounced&channel=", "shared": "on"}
    response = client.post(f"{VIEWS}add/", form)
    view = SavedView.objects.get()
    assert view.query == "status=bounced%2Cfailed"
    assert response["Location"] == f"{LIST}?{view.query}"
    shown = text(client.get(response["Location"]))
    assert "Bad &lt;b&gt;ones&lt;/b&gt;" in shown and "<b>ones" not in shown
    client.post(f"{VIEWS}{view.pk}/change/", {"name": "Bad", "query": view.query})
    view.refresh_from_db()
    assert (view.name, view.shared) == ("Bad", False)
    client.post(f"{VIEWS}{view.pk}/delete/", {"post": "yes"})
    assert not SavedView.objects.exists()


@pytest.mark.parametrize("query", ["status=nonsense", "foo=1", "q=id:x", "since=2026-02-31", "\0"])
def test_a_view_that_means_nothing_is_refused_at_the_field(client, query):
    response = client.post(f"{VIEWS}add/", {"name": "x", "query": query})
    assert response.status_code == 200
    assert response.context["adminform"].form.errors["query"]
    assert not SavedView.objects.exists()


def test_a_name_is_taken_once_by_each_owner(client):
    form = {"name": "mine", "query": "status=failed"}
    client.post(f"{VIEWS}add/", form)
    assert "of this name already" in text(client.post(f"{VIEWS}add/", form))
    staff(*MAY).post(f"{VIEWS}add/", form)
    assert SavedView.objects.count() == 2


def test_views_of_others_are_seen_where_shared_and_never_changed(client):
    client.post(f"{VIEWS}add/", {"name": "private", "query": "status=failed"})
    client.post(f"{VIEWS}add/", {"name": "for all", "query": "status=bounced", "shared": "on"})
    private, shared = SavedView.objects.get(name="private"), SavedView.objects.get(name="for all")
    other = staff(*MAY)
    shown = text(other.get(LIST))
    assert "for all" in shown and "private" not in shown
    assert other.post(f"{VIEWS}{shared.pk}/change/", {"name": "x", "query": ""}).status_code == 403
    assert other.post(f"{VIEWS}{shared.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [shared.pk, private.pk], "post": "yes"}
    other.post(VIEWS, chosen)
    assert SavedView.objects.count() == 2


def test_sharing_has_its_permission():
    staff(*MAY).post(f"{VIEWS}add/", {"name": "a", "query": "status=failed", "shared": "on"})
    staff(*MAY, "dashboard.share_savedview").post(f"{VIEWS}add/", {"name": "b", "query": "tag=x", "shared": "on"})
    assert list(SavedView.objects.order_by("name").values_list("shared", flat=True)) == [False, True]


def test_columns_are_chosen_by_the_address_and_remembered_for_the_session(client):
    project = make_project()
    make_account(project)
    make_message(project, tags=["vip"], external_id="order-7", category="receipts")
    assert "order-7" not in text(client.get(LIST))
    chosen = text(client.get(f"{LIST}?columns=external&columns=tag_list,category"))
    assert "order-7" in chosen and "vip" in chosen and "column-state" not in chosen
    assert "order-7" in text(client.get(LIST))
    assert "order-7" not in text(somebody_else().get(LIST))
    assert "There is no column" in text(client.get(f"{LIST}?columns=password"))


def somebody_else() -> Client:
    return staff("tracking.view_message")
