"""Vendor codes: the inbox, what a class would change, and the run that changes it."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ

from providers.models import ErrorMapping
from tests.builders import make_account, make_project
from tests.dashboard.people import staff, superuser, text
from tests.dashboard.test_account_page import HOSTILE, lives
from tracking import accounts, tasks
from tracking.models import Message, Remap
from tracking.services import remap

pytestmark = pytest.mark.django_db
LIST = "/admin/providers/errormapping/"
ADD = f"{LIST}add/"
MEANS = {
    "kind": "sandbox",
    "word": "bounced",
    "code": "X-1",
    "phrase": "",
    "outcome": "failed",
    "failure": "blocked",
    "bounce": "block",
    "note": "the vendor's page",
    "days": "30",
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(accounts, "KEPT", 0.0)


@pytest.fixture
def client() -> Client:
    return superuser()


@pytest.fixture
def account():
    return make_account(make_project())


def statuses() -> list[str]:
    return list(Message.objects.values_list("status", flat=True))


def test_the_inbox(client, account):
    lives(account, ("bounced", "X-1", HOSTILE), ("bounced", "X-1", HOSTILE), ("held", HOSTILE[:90], "zzz"))
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(LIST))
    assert len(queries) <= 8
    assert HOSTILE not in shown and "&lt;script&gt;" in shown
    assert f"{ADD}?kind=sandbox&amp;word=bounced&amp;code=X-1" in shown
    assert 'value="X-1"' in text(client.get(ADD, {"kind": "sandbox", "word": "bounced", "code": "X-1"}))
    assert HOSTILE not in text(client.get(ADD, {"kind": HOSTILE, "word": HOSTILE, "code": "\0"}))


def test_nothing_unknown_says_so(client):
    assert "Everything that came in is understood" in text(client.get(LIST))


def test_first_a_look_then_it_is_done(client, account):
    lives(account, *[("bounced", "X-1", "zzz")] * 3)
    shown = text(client.post(ADD, {**MEANS, "preview": "1"}))
    assert "<strong>3</strong>" in shown and "Apply it" in shown
    assert statuses() == ["bounced"] * 3
    assert not ErrorMapping.objects.exists() and not Remap.objects.exists() and not LogEntry.objects.exists()

    answer = client.post(ADD, {**MEANS, "apply": "1"})
    run = Remap.objects.get()
    assert answer.headers["Location"] == f"{LIST}run/{run.pk}/"
    assert OrmQ.objects.count() == 1  # the job is part of the same transaction
    going = client.get(f"{LIST}run/{run.pk}/")
    assert going.headers["Refresh"] == "2" and "running" in text(going)
    tasks.remap(run.pk)
    ended = client.get(f"{LIST}run/{run.pk}/")
    assert "Refresh" not in ended.headers and "100 %" in text(ended)
    assert statuses() == ["failed"] * 3
    assert remap.inbox() == []
    assert run.by == "ops" and "the vendor" in ErrorMapping.objects.get().note
    assert LogEntry.objects.count() == 1


def test_a_meaning_is_changed_and_forgotten(client, account):
    lives(account, ("bounced", "X-1", "zzz"))
    client.post(ADD, {**MEANS, "apply": "1"})
    tasks.remap(Remap.objects.latest("pk").pk)
    stored = ErrorMapping.objects.get()
    url = f"{LIST}{stored.pk}/change/"
    assert "Forget it" in text(client.get(url))
    shown = text(client.post(url, {**MEANS, "outcome": "delivered", "preview": "1"}))
    assert "<strong>1</strong>" in shown
    assert statuses() == ["failed"]
    client.post(url, {**MEANS, "outcome": "delivered", "kind": "http", "apply": "1"})
    tasks.remap(Remap.objects.latest("pk").pk)
    stored.refresh_from_db()
    assert (stored.kind, stored.outcome, statuses()) == ("sandbox", "delivered", ["delivered"])

    forget = f"{LIST}{stored.pk}/forget/"
    assert client.get(forget).status_code == 405
    client.post(forget, {"days": "x"})
    assert not ErrorMapping.objects.exists()
    tasks.remap(Remap.objects.latest("pk").pk)
    assert statuses() == ["bounced"]
    assert len(remap.inbox()) == 1
    assert LogEntry.objects.count() == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "nonsense"}, "kind"),
        ({"word": "", "code": ""}, "code"),
        ({"code": "x" * 101}, "code"),
        ({"code": "a\0"}, "code"),
        ({"outcome": "read"}, "outcome"),
        ({"failure": "ambiguous"}, "failure"),
        ({"bounce": "x"}, "bounce"),
        ({"days": "0"}, "days"),
        ({"days": "9" * 30}, "days"),
        ({"suppress": "on", "account_fault": "on"}, "account_fault"),
    ],
)
@pytest.mark.parametrize("button", ["preview", "apply"])
def test_bad_input_is_an_error_at_the_field(client, change, field, button):
    answer = client.post(ADD, {**MEANS, **change, button: "1"})
    assert answer.status_code == 200
    assert list(answer.context["form"].errors) == [field]
    assert not ErrorMapping.objects.exists() and not Remap.objects.exists()


def test_the_same_code_twice_is_refused(client):
    client.post(ADD, {**MEANS, "apply": "1"})
    answer = client.post(ADD, {**MEANS, "apply": "1"})
    assert "already exists" in text(answer)
    assert ErrorMapping.objects.count() == 1


def test_permissions(account):
    lives(account, ("bounced", "X-1", "zzz"))
    ErrorMapping.objects.create(kind="sandbox", code="A")
    stored = ErrorMapping.objects.get()
    run = remap.start(kind="sandbox", days=1, by="ops", why=HOSTILE)
    viewer, operator = staff("providers.view_errormapping"), staff("providers.change_errormapping")
    shown = text(viewer.get(LIST))
    assert "X-1" in shown and "Assign" not in shown
    assert HOSTILE not in text(viewer.get(f"{LIST}run/{run.pk}/"))
    assert "Apply" not in text(viewer.get(f"{LIST}{stored.pk}/change/"))
    assert viewer.get(ADD).status_code == 403
    for url in (ADD, f"{LIST}{stored.pk}/change/", f"{LIST}{stored.pk}/forget/"):
        assert viewer.post(url, {**MEANS, "apply": "1"}).status_code == 403
    for url in (LIST, ADD, f"{LIST}run/{run.pk}/", f"{LIST}{stored.pk}/change/"):
        assert staff().get(url).status_code == 403
        assert operator.get(url).status_code == 200
    assert "Assign" in text(operator.get(LIST))
    assert operator.post(ADD, {**MEANS, "apply": "1"}).status_code == 302


def test_what_is_not_there(client):
    assert client.get(f"{LIST}run/99/").status_code == 404
    assert client.get(f"{LIST}99/change/").status_code == 404
    assert client.get(f"{LIST}nonsense/change/").status_code == 404
