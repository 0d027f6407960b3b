"""The audit log: what of the configuration is on record, and what never is."""

from __future__ import annotations

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.builders import make_account, make_key, make_project
from tests.dashboard.people import staff, superuser, text
from tracking.models import ApiKey, Suppression

pytestmark = pytest.mark.django_db
LOG = "/admin/auditlog/logentry/"


@pytest.fixture
def client() -> Client:
    return superuser()


def everything() -> str:
    """All that the log holds, as the database has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(to_jsonb(e)::text, '\n') FROM auditlog_logentry e")
        return cursor.fetchone()[0] or ""


def last() -> LogEntry:
    return LogEntry.objects.latest("pk")


def test_who_paused_a_project_when_and_why(client):
    project = make_project(code="shop")
    client.post(
        reverse("admin:system_pause_project", args=[project.pk]), {"reason": "bad campaign"}, REMOTE_ADDR="192.0.2.9"
    )
    entry = last()
    assert (entry.actor.username, entry.object_repr, entry.remote_addr) == ("ops", "shop", "192.0.2.9")
    assert entry.changes == {"paused": ["False", "True"], "paused_reason": ["", "bad campaign"]}
    shown = text(client.get(LOG))
    assert "bad campaign" in shown and "ops" in shown and "192.0.2.9" in shown
    assert "bad campaign" in text(client.get(f"{LOG}{entry.pk}/change/"))


def test_who_came_in_and_from_where():
    User.objects.create_superuser("ada", password="a long pass word")
    visitor = Client(REMOTE_ADDR="192.0.2.9")
    visitor.post("/admin/login/", {"username": "ada", "password": "wrong"})
    assert last().action != LogEntry.Action.ACCESS
    visitor.post("/admin/login/", {"username": "ada", "password": "a long pass word"})
    entry = last()
    assert (entry.action, entry.actor.username, entry.remote_addr) == (LogEntry.Action.ACCESS, "ada", "192.0.2.9")
    assert "signed in" in text(superuser().get(LOG))


def test_secrets_are_masked_wherever_they_come_from(client):
    account = make_account(credentials={"hook_secret": "first-secret"})
    sealed, token = account.sealed_credentials, account.hook_token
    account.credentials = {"hook_secret": "second-secret"}
    account.save()
    assert last().changes["sealed_credentials"] == ["(secret)", "(secret)"]  # that it changed, not to what
    key = make_key(make_project())
    user = User.objects.create_user("new", password="pass-word-1234")
    user.set_password("pass-word-5678")
    user.save()
    assert last().changes == {"password": ["(secret)", "(secret)"]}
    held = everything()
    hidden = [sealed, account.sealed_credentials, token, token[len(token) // 2 :], "first-secret", "second-secret"]
    hidden += [key, key.split("_", 2)[2], ApiKey.objects.get().hashed.hex(), user.password, "pass-word"]
    assert [secret for secret in hidden if secret in held] == []


def test_a_key_that_is_revoked_is_on_record(client):
    make_key(make_project())
    client.post(reverse("admin:tracking_apikey_revoke", args=[ApiKey.objects.get().pk]))
    assert last().changes == {"revoked": ["False", "True"]}
    assert last().actor.username == "ops"


def test_membership_in_groups_is_on_record(client):
    user, group = User.objects.create(username="olga"), Group.objects.create(name="night shift")
    user.groups.add(group)
    assert last().changes == {"groups": {"type": "m2m", "operation": "add", "objects": ["night shift"]}}
    assert "night shift" in text(client.get(LOG))


def test_suppressions_are_on_record_without_the_address(client):
    project = make_project(code="shop")
    address = "ada.lovelace@example.org"
    form = {"project": project.pk, "channel": "email", "address": address, "note": "asked by phone"}
    client.post("/admin/tracking/suppression/add/", form)
    made = last()
    assert (made.action, made.changes["project"], made.actor.username) == (0, ["", "shop"], "ops")
    client.post(f"/admin/tracking/suppression/{Suppression.objects.get().pk}/delete/", {"reason": "asked again"})
    assert last().action == LogEntry.Action.DELETE
    assert "lovelace" not in everything()


def test_the_page_is_only_read(client):
    make_project()
    url = f"{LOG}{last().pk}/"
    assert client.post(f"{url}change/", {"object_repr": "x"}).status_code == 403
    assert client.post(f"{url}delete/", {"post": "yes"}).status_code == 403
    assert client.get(f"{LOG}add/").status_code == 403
    assert staff("tracking.view_message").get(LOG).status_code == 403


def test_hostile_names_are_escaped(client):
    make_project(code="shop", name="<script>alert(1)</script>")
    for page in (LOG, f"{LOG}{last().pk}/change/"):
        shown = text(client.get(page))
        assert "&lt;script&gt;alert" in shown and "<script>alert" not in shown


@pytest.mark.parametrize("query", ["action=x", "who=abc", "who=%00", "before=x", "o=999", "p=-1", "cid=1", "q=%00"])
def test_bad_filters_are_no_error(client, query):
    assert client.get(f"{LOG}?{query}", follow=True).status_code == 200


def test_filters_and_a_long_list_take_few_queries(client):
    for _ in range(60):
        make_project()
    with CaptureQueriesContext(connection) as queries:
        response = client.get(LOG)
    assert len(queries) <= 8
    assert response.context["cl"].older_link
    ops = User.objects.get(username="ops").pk
    assert client.get(f"{LOG}?who={ops}").context["cl"].result_count == 1  # came in


def test_the_log_says_which_request_it_was(client):
    project = make_project()
    client.post(
        reverse("admin:system_pause_project", args=[project.pk]), {"reason": "x"}, headers={"X-Request-ID": "abc-12345"}
    )
    assert last().cid == "abc-12345"
