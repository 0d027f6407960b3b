"""The consents' pages, and a project's engagement settings."""

from __future__ import annotations

import pytest
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


def test_it_is_only_read(client):
    found = consent(make_project())
    assert client.post(f"{LIST}{found.pk}/change/", {"state": "granted"}).status_code in (403, 405)
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.get(f"{LIST}{found.pk}/delete/").status_code == 403
    assert staff("tracking.view_message").get(LIST).status_code == 403


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
