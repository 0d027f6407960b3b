"""Logins, made and revoked as API keys are."""

from __future__ import annotations

import re

import pytest
from auditlog.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_project
from tests.dashboard.people import staff, superuser, text
from tracking.models import Login
from tracking.services import logins

pytestmark = pytest.mark.django_db
LOGINS = "/admin/tracking/login/"


@pytest.fixture
def client() -> Client:
    return superuser()


def form(**kw: object) -> dict[str, object]:
    return {"project": make_project().pk, "username": "shop", "scopes": ["send", "read"], **kw}


def test_a_password_is_shown_once_and_works(client):
    response = client.post(f"{LOGINS}add/", form())
    password = re.search(r'secret mono copy">([\w-]{20,})<', text(response))[1]
    assert "no-store" in response["Cache-Control"]
    row = logins.check("shop", password)
    assert row is not None and row.scopes == ["read", "send"]
    for url in (LOGINS, f"{LOGINS}{row.pk}/change/", f"{LOGINS}{row.pk}/history/"):
        assert password not in text(client.get(url))
    assert password not in str(dict(client.session))
    entry = LogEntry.objects.latest("pk")
    assert entry.object_repr == "shop" and "hashed" not in entry.changes


def test_a_reload_makes_no_second_login(client):
    wanted = form()
    client.post(f"{LOGINS}add/", wanted)
    assert "a login of this name already" in text(client.post(f"{LOGINS}add/", wanted))
    assert Login.objects.count() == 1


@pytest.mark.parametrize(
    "wrong",
    [{"username": ""}, {"username": "a b"}, {"username": "x" * 51}, {"username": "a\0"}, {"username": "<b>"}]
    + [{"scopes": []}, {"scopes": ["root"]}, {"project": "0"}],
)
def test_what_is_wrong_is_said_at_its_field(client, wrong):
    response = client.post(f"{LOGINS}add/", form(**wrong))
    assert response.status_code == 200
    assert set(response.context["form"].errors) == set(wrong)
    assert not Login.objects.exists()


def test_it_is_revoked_by_post_and_never_edited(client):
    password = logins.create(project=make_project(), username="shop")
    row = Login.objects.get()
    assert client.post(f"{LOGINS}{row.pk}/change/", {"username": "x", "revoked": ""}).status_code == 403
    assert client.get(f"{LOGINS}{row.pk}/revoke/").status_code == 405
    assert logins.check("shop", password)
    assert "is revoked" in text(client.post(f"{LOGINS}{row.pk}/revoke/", follow=True))
    assert not logins.check("shop", password)
    assert "/revoke/" not in text(client.get(f"{LOGINS}{row.pk}/change/"))


def test_permissions():
    logins.create(project=make_project(), username="shop")
    row = Login.objects.get()
    client = staff("tracking.view_login")
    assert "/revoke/" not in text(client.get(f"{LOGINS}{row.pk}/change/"))
    assert client.post(f"{LOGINS}{row.pk}/revoke/").status_code == 403
    assert client.get(f"{LOGINS}add/").status_code == 403
    assert client.post(f"{LOGINS}add/", form(username="other")).status_code == 403


def test_the_list_costs_the_same_with_many(client):
    project = make_project()
    for number in range(20):
        logins.create(project=project, username=f"shop-{number}")
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(LOGINS))
    assert shown.count("shop-") >= 20
    assert len(queries) <= 9, [each["sql"] for each in queries]
