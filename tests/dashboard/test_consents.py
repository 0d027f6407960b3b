"""The consents' pages, and a project's engagement settings."""

from __future__ import annotations

import pytest
from auditlog.models import LogEntry
from django.contrib.admin.models import LogEntry as AdminEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import staff, superuser, text
from tests.dashboard.test_configuration import NO_GRANTS
from tracking.models import Consent, ConsentState, EngagementSettings, Project
from tracking.services import consents
from tracking.services.consents import Asked, By

pytestmark = pytest.mark.django_db
LIST = "/admin/tracking/consent/"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def client() -> Client:
    return superuser()


def consent(project: Project, recipient: str = "ada@example.org", **kw) -> Consent:
    asked = Asked(kw.get("channel", "email"), recipient, kw.get("purpose", "news"))
    by = kw.get("by", By("api", who="abc"))
    consents.put(project_id=project.pk, wanted=[(asked, ConsentState(kw.get("state", "granted")))], by=by)
    return Consent.objects.latest("changed_at")


def test_filters_and_search(client):
    project = make_project()
    mine, sms = consent(project), consent(project, "+49301234567", channel="sms")
    left = consent(make_project(), "bob@example.org", state="withdrawn")
    for query, found in (
        ("", [left.pk, sms.pk, mine.pk]),
        (f"project={project.pk}", [sms.pk, mine.pk]),
        ("channel=sms", [sms.pk]),
        ("state=withdrawn", [left.pk]),
        ("state=nonsense", [left.pk, sms.pk, mine.pk]),
        ("q=ADA@example.org", [mine.pk]),
        ("q=nobody", []),
    ):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(f"{LIST}?{query}")
        assert [row.pk for row in answer.context["cl"].result_list] == found, query
        assert len(queries) <= 9


def test_its_page_shows_the_history(client):
    project = make_project()
    make_account(project)
    key = make_message(project)
    found = consent(project, purpose=HOSTILE)
    consent(project, purpose=HOSTILE, state="withdrawn", by=By("engagement", message_id=key))
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(f"{LIST}{found.pk}/change/"))
    assert len(queries) <= 7
    assert HOSTILE not in shown and "&lt;script&gt;" in shown
    assert (
        f"/admin/tracking/message/{key}/change/" in shown and "by an unsubscribe link" in shown and "pr_abc_" in shown
    )
    assert shown.index("withdrawn") < shown.index("an application")


def test_it_is_changed_by_its_deeds_alone(client):
    found = consent(make_project())
    assert client.post(f"{LIST}{found.pk}/change/", {"state": "withdrawn"}).status_code in (403, 405)
    assert client.get(f"{LIST}{found.pk}/withdraw/").status_code == 405
    assert client.get(f"{LIST}{found.pk}/delete/").status_code == 403
    assert staff("tracking.view_message").get(LIST).status_code == 403
    found.refresh_from_db()
    assert found.state == "granted"


def test_an_operator_withdraws_and_gives_for_a_reason(client):
    found = consent(make_project())
    page = f"{LIST}{found.pk}/change/"
    for bad in ({}, {"reason": " "}, {"reason": "x" * 301}, {"reason": "a\0b"}):
        assert "Nothing was changed" in text(client.post(f"{LIST}{found.pk}/withdraw/", bad, follow=True))
    shown = text(client.post(f"{LIST}{found.pk}/withdraw/", {"reason": HOSTILE}, follow=True))
    assert "is withdrawn" in shown and "ops" in shown and HOSTILE not in shown and "&lt;script&gt;" in shown
    assert consents.stopped(found.project_id, [Asked("email", "ada@example.org", "news")])
    change = found.changes.latest("pk")
    assert (change.state, change.source, change.who, change.note) == ("withdrawn", "admin", "ops", HOSTILE)
    again = client.post(f"{LIST}{found.pk}/withdraw/", {"reason": "again"}, follow=True)
    assert "withdrawn already" in text(again) and found.changes.count() == 2
    assert "Give…" in text(client.get(page)) and "Withdraw…" not in text(client.get(page))
    client.post(f"{LIST}{found.pk}/give/", {"reason": "she called"})
    assert not consents.stopped(found.project_id, [Asked("email", "ada@example.org", "news")])
    entry = LogEntry.objects.latest("pk")
    assert entry.changes == {"purpose": ["", "news"], "state": ["", "granted"], "why": ["", "she called"]}
    assert entry.actor.username == "ops" and "ada" not in entry.object_repr


def test_a_consent_is_added_for_somebody_who_called(client):
    project = make_project(default_region="DE")
    wanted = {"project": project.pk, "channel": "sms", "address": "0151 1234567", "purpose": "news"}
    for bad, field in (({}, "state"), ({"state": "removed"}, "state"), ({"state": "withdrawn"}, "reason")):
        assert client.post(f"{LIST}add/", {**wanted, **bad}).context["adminform"].form.errors[field]
    wanted |= {"state": "withdrawn", "reason": "she called"}
    assert client.post(f"{LIST}add/", {**wanted, "address": "nobody"}).context["adminform"].form.errors["address"]
    assert not Consent.objects.exists()
    assert client.post(f"{LIST}add/", wanted).status_code == 302
    found = Consent.objects.get()
    assert (found.address, found.state, found.changes.get().note) == ("+491511234567", "withdrawn", "she called")
    held = [model.objects.latest("pk").__dict__ for model in (LogEntry, AdminEntry)]
    assert "1511234567" not in str(held)
    assert client.post(f"{LIST}add/", wanted).context["adminform"].form.errors["state"] == ["It is withdrawn already."]
    client.post(f"{LIST}add/", {**wanted, "state": "granted"})
    found.refresh_from_db()
    assert (found.state, Consent.objects.count(), found.changes.count()) == ("granted", 1, 2)


def test_an_erased_address_is_not_brought_back(client):
    found = consent(make_project())
    Consent.objects.filter(pk=found.pk).update(address="")
    shown = text(client.get(f"{LIST}{found.pk}/change/"))
    assert "was erased" in shown and "Withdraw…" not in shown
    assert "was erased" in text(client.post(f"{LIST}{found.pk}/withdraw/", {"reason": "x"}, follow=True))
    assert found.changes.count() == 1


def test_nobody_changes_one_without_the_permission():
    found = consent(make_project())
    viewer = staff("tracking.view_consent")
    assert "Withdraw…" not in text(viewer.get(f"{LIST}{found.pk}/change/"))
    for deed in ("withdraw", "give"):
        assert viewer.post(f"{LIST}{found.pk}/{deed}/", {"reason": "x"}).status_code == 403
    assert viewer.get(f"{LIST}add/").status_code == 403


def form(project: Project, **engagement: str) -> dict[str, str]:
    management = {**NO_GRANTS, "engagement-TOTAL_FORMS": "1", "engagement-0-project": str(project.pk)}
    return {
        "name": "Acme",
        "retry": "{}",
        **management,
        **{f"engagement-0-{name}": value for name, value in engagement.items()},
    }


def test_a_project_turns_engagement_on(client, settings):
    settings.ALLOWED_HOSTS = ["testserver", "links.example.com"]
    project = make_project()
    url = f"/admin/tracking/project/{project.pk}/change/"
    assert "one-click unsubscribe" in text(client.get(url)).lower()
    assert client.post(url, form(project, opens="on", domain="https://Links.example.com/")).status_code == 302
    stored = EngagementSettings.objects.get()
    assert (stored.opens, stored.clicks, stored.base) == (True, False, "https://links.example.com")


@pytest.mark.parametrize(
    "domain",
    ["links.example.com", "ftp://links.example.com", "https://other.example", "https://links.example.com/path"]
    + [
        "https://user@links.example.com",
        "https://links.example.com?x",
        "javascript:alert(1)",
        "https://[",
        "https://l:x",
    ]
    + ['https://links.example.com"><script>'],
)
def test_a_tracking_domain_that_leads_nowhere_is_refused(client, settings, domain):
    settings.ALLOWED_HOSTS = ["testserver", "links.example.com"]
    project = make_project()
    answer = client.post(f"/admin/tracking/project/{project.pk}/change/", form(project, opens="on", domain=domain))
    assert answer.status_code == 200 and "<script>" not in text(answer)
    assert not EngagementSettings.objects.exists()
