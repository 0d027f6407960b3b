"""Projects, API keys, the suppression list, the switch, and the first page."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import Client

from tests.builders import make_account, make_key, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tracking.models import ApiKey, Suppression, Switch
from tracking.services import suppress

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return superuser()


OTHERS = ("pushwoosh", "channel_settings", "engagement")  # inlines of a project's page that these tests leave alone
NO_OTHERS = {f"{name}-{which}_FORMS": "0" for name in OTHERS for which in ("TOTAL", "INITIAL")}
NO_GRANTS = {"grant_set-TOTAL_FORMS": "0", "grant_set-INITIAL_FORMS": "0", **NO_OTHERS}

# --- projects


def test_a_project_is_made_paused_and_granted(client):
    account = make_account()
    grants = {
        "grant_set-TOTAL_FORMS": "1",
        "grant_set-INITIAL_FORMS": "0",
        "grant_set-0-account": str(account.pk),
    } | NO_OTHERS
    form = {"code": "shop", "name": "Shop", "retry": '{"max_attempts": 3}', "default_region": "DE", **grants}
    assert client.post("/admin/tracking/project/add/", form).status_code == 302
    project = account.projects.get()
    assert (project.code, project.retry, project.paused) == ("shop", {"max_attempts": 3}, False)
    client.post(f"/admin/tracking/project/{project.pk}/change/", {"name": "", "retry": "", "paused": "on", **NO_GRANTS})
    project.refresh_from_db()
    assert (project.code, project.retry, project.paused) == ("shop", {}, True)


@pytest.mark.parametrize(
    "retry", ['{"max_attempts": 0}', '{"nonsense": 1}', "[1]", "{", '"x"', '{"\\ud800": 1}', '{"\\u0000": 1}']
)
def test_a_bad_retry_policy_is_an_error_at_the_field(client, retry):
    response = client.post("/admin/tracking/project/add/", {"code": "shop", "retry": retry, **NO_GRANTS})
    assert response.status_code == 200
    assert response.context["adminform"].form.errors["retry"]


# --- API keys

KEYS = "/admin/tracking/apikey/"


def test_a_key_is_shown_once_and_works(client):
    project = make_project()
    make_account(project)
    response = client.post(f"{KEYS}add/", {"project": project.pk, "name": "web", "scopes": ["send", "read"]})
    key = re.search(r"pr_[a-z0-9]+_[\w-]{20,}", text(response))[0]
    assert "no-store" in response["Cache-Control"]
    row = ApiKey.objects.get()
    assert row.scopes == ["read", "send"]
    for url in (KEYS, f"{KEYS}{row.pk}/change/", f"{KEYS}{row.pk}/history/"):
        assert key.split("_", 2)[2] not in text(client.get(url))
    assert key not in str(dict(client.session))
    asked = Client().get("/v1/notifications", headers={"Authorization": f"Bearer {key}"})
    assert asked.status_code == 200


def test_a_reload_makes_no_second_key(client):
    form = {"project": make_project().pk, "name": "web", "scopes": ["send"]}
    client.post(f"{KEYS}add/", form)
    assert "has a key of this name already" in text(client.post(f"{KEYS}add/", form))
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("wrong", [{"name": ""}, {"scopes": []}, {"scopes": ["root"]}, {"project": "0"}])
def test_a_key_needs_a_project_a_name_and_known_scopes(client, wrong):
    form = {"project": make_project().pk, "name": "web", "scopes": ["send"], **wrong}
    response = client.post(f"{KEYS}add/", form)
    assert response.status_code == 200
    assert set(response.context["form"].errors) == set(wrong)
    assert not ApiKey.objects.exists()


def test_a_key_is_revoked_by_post_and_never_edited(client):
    make_key(make_project())
    row = ApiKey.objects.get()
    assert client.post(f"{KEYS}{row.pk}/change/", {"name": "x", "revoked": ""}).status_code == 403
    assert client.get(f"{KEYS}{row.pk}/revoke/").status_code == 405
    assert not ApiKey.objects.get().revoked
    assert "is revoked" in text(client.post(f"{KEYS}{row.pk}/revoke/", follow=True))
    assert ApiKey.objects.get().revoked
    assert "/revoke/" not in text(client.get(f"{KEYS}{row.pk}/change/"))


def test_key_permissions():
    make_key(make_project())
    row = ApiKey.objects.get()
    client = staff("tracking.view_apikey")
    assert "/revoke/" not in text(client.get(f"{KEYS}{row.pk}/change/"))
    assert client.post(f"{KEYS}{row.pk}/revoke/").status_code == 403
    assert client.get(f"{KEYS}add/").status_code == 403
    assert client.post(f"{KEYS}add/", {"project": row.project_id, "name": "x", "scopes": ["send"]}).status_code == 403


# --- the suppression list

LIST = "/admin/tracking/suppression/"


def test_an_address_is_suppressed_found_and_released(client):
    project = make_project()
    form = {"project": project.pk, "channel": "email", "address": "Ada@EXAMPLE.org", "note": "asked for it"}
    assert client.post(f"{LIST}add/", form).status_code == 302
    entry = Suppression.objects.get()
    assert (entry.address, entry.reason) == ("Ada@example.org", "manual")
    assert suppress.suppressed(project.pk, [("email", "ada@example.org")])
    assert "It is on the list already" in text(client.post(f"{LIST}add/", form))
    assert "Ada@example.org" in text(client.get(LIST, {"q": "ada@example.org"}))
    assert "Ada@example.org" not in text(client.get(LIST, {"q": "ada@example"}))
    client.post(f"{LIST}{entry.pk}/delete/", {"reason": "they asked"})
    assert not Suppression.objects.exists()
    assert "Lifted: they asked" in [log.change_message for log in LogEntry.objects.all()]
    assert not [log.object_repr for log in LogEntry.objects.all() if "example.org" in log.object_repr]


def test_an_erased_address_is_still_found_by_its_hash(client):
    project = make_project()
    suppress.add([suppress.Entry(project.pk, "sms", "+4915112345678", "complaint")])
    Suppression.objects.update(address="")
    assert "(erased)" in text(client.get(LIST, {"q": "+49 151 12345678"}))


@pytest.mark.parametrize(
    ("channel", "address"), [("email", "nonsense"), ("sms", "0151 123"), ("email", ""), ("x", "a@b.cd")]
)
def test_a_bad_address_is_an_error_at_the_field(client, channel, address):
    form = {"project": make_project().pk, "channel": channel, "address": address, "note": "why"}
    response = client.post(f"{LIST}add/", form)
    assert response.status_code == 200
    assert response.context["adminform"].form.errors
    assert not Suppression.objects.exists()


# --- the switch

SWITCH = "/admin/tracking/switch/1/change/"


def test_sending_is_paused_with_a_reason(client):
    client.get(SWITCH)
    assert not Switch.objects.exists()
    response = client.post(SWITCH, {"sending_paused": "on", "reason": ""})
    assert response.context["adminform"].form.errors["reason"]
    assert client.post(SWITCH, {"sending_paused": "on", "reason": "bad campaign"}).status_code == 302
    assert Switch.objects.get().sending_paused
    shown = text(client.get("/admin/"))
    assert "Sending is paused" in shown and "bad campaign" in shown
    client.post(SWITCH, {"reason": ""})
    assert not Switch.objects.get().sending_paused
    assert client.get("/admin/tracking/switch/").status_code == 302


def test_the_switch_needs_its_permission():
    client = staff("tracking.view_switch")
    assert client.get(SWITCH).status_code == 200
    assert client.post(SWITCH, {"sending_paused": "on", "reason": "x"}).status_code == 403
    assert not Switch.objects.exists()


# --- the first page


def test_an_empty_installation_says_what_to_do_first(client):
    shown = text(client.get("/admin/"))
    assert "what to do first" in shown
    assert "/admin/providers/provideraccount/add/" in shown
    project = make_project()
    make_account(project)
    shown = text(client.get("/admin/"))
    assert "/admin/providers/provideraccount/add/" not in shown.split("what to do first")[1].split("</ol>")[0]
    make_message(project)
    assert "what to do first" not in text(client.get("/admin/"))


def test_the_task_queues_own_pages_are_not_there(client):
    names = {model._meta.app_label for model in admin.site._registry}
    assert "django_q" not in names
    assert "tracking" in names
    assert client.get("/admin/django_q/schedule/").status_code == 404


def test_batches_are_only_read(client):
    project = make_project()
    make_account(project)
    key = make_key(project)
    items = {
        "notifications": [
            {"channel": "email", "recipient": f"a{n}@example.org", "content": {"text": "x"}} for n in range(3)
        ]
    }
    answer = Client().post(
        "/v1/notifications/batch", items, content_type="application/json", headers={"Authorization": f"Bearer {key}"}
    )
    batch = answer.json()["batch_id"]
    assert str(batch) in text(client.get("/admin/tracking/batch/"))
    shown = text(client.get(f"/admin/tracking/batch/{batch}/change/"))
    assert "pending" in shown and f"?batch={batch}" in shown
    assert client.get(f"/admin/tracking/message/?batch={batch}").context["cl"].result_count == 3
    assert client.post(f"/admin/tracking/batch/{batch}/change/", {"size": 1}).status_code == 405
    assert client.get("/admin/tracking/batch/add/").status_code == 403


@pytest.mark.parametrize("key", ["nonsense", "%00", "-1", "99999999999999999999999", "_", "%3Cscript%3E"])
@pytest.mark.parametrize(
    "model", ["message", "batch", "inbound", "unmatched", "project", "apikey", "suppression", "switch"]
)
def test_odd_object_ids_are_never_an_error_of_ours(client, model, key):
    for page in ("change", "history", "delete"):
        response = client.get(f"/admin/tracking/{model}/{key}/{page}/", follow=True)
        assert response.status_code in (200, 403, 404)
        assert "<script>" not in text(response)


@pytest.mark.parametrize("app", ["tracking", "providers", "auth"])
def test_the_pages_of_an_app_are_listed(client, app):
    assert client.get(f"/admin/{app}/").status_code == 200


@pytest.mark.parametrize(
    ("model", "title"),
    [
        ("dashboard/savedview", "Saved views"),
        ("dashboard/alertrule", "Alert rules"),
        ("dashboard/alertchannel", "Alert channels"),
        ("providers/provideraccount", "Provider accounts"),
        ("tracking/project", "Projects"),
    ],
)
def test_lists_have_a_title_of_ours(client, model, title):
    assert f"<title>{title} · Postroom</title>" in text(client.get(f"/admin/{model}/"))
