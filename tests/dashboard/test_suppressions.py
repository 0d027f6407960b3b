"""The suppression list: filtered, added to by hand, lifted for a reason."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_project
from tests.dashboard.people import staff, superuser, text
from tracking import ids
from tracking.models import Suppression
from tracking.services import suppress

pytestmark = pytest.mark.django_db
LIST = "/admin/tracking/suppression/"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def client() -> Client:
    return superuser()


def entry(**kw) -> Suppression:
    given = {"channel": "email", "address": "ada@example.org", "reason": "complaint", "message_id": ids.new(), **kw}
    suppress.add([suppress.Entry(make_project().pk, **given)])
    return Suppression.objects.latest("pk")


def test_filters_by_project_channel_and_reason(client):
    mine, sms, bounce = entry(), entry(channel="sms", address="+49301234567"), entry(reason="hard_bounce")
    for query, found in (
        (f"project={mine.project_id}", [mine.pk]),
        ("channel=sms", [sms.pk]),
        ("reason=hard_bounce", [bounce.pk]),
        (f"reason=complaint&project={mine.project_id}", [mine.pk]),
        ("reason=nonsense", [bounce.pk, sms.pk, mine.pk]),
    ):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(f"{LIST}?{query}")
        assert [row.pk for row in answer.context["cl"].result_list] == found, query
        assert len(queries) <= 9


def test_its_page_says_when_and_by_which_message(client):
    found = entry()
    shown = text(client.get(f"{LIST}{found.pk}/change/"))
    assert "complaint" in shown and f"/admin/tracking/message/{found.message_id}/change/" in shown
    assert "<time" in shown


def test_added_by_hand_with_a_reason(client):
    form = {"project": make_project().pk, "channel": "email", "address": "ada@example.org"}
    assert client.post(f"{LIST}add/", form).context["adminform"].form.errors["note"]
    client.post(f"{LIST}add/", {**form, "note": HOSTILE})
    found = Suppression.objects.get()
    assert (found.reason, found.made_by, found.note) == ("manual", "ops", HOSTILE)
    shown = text(client.get(f"{LIST}{found.pk}/change/"))
    assert HOSTILE not in shown and "&lt;script&gt;" in shown


def test_lifted_by_post_for_a_reason_that_stays(client):
    found = entry()
    url = f"{LIST}{found.pk}/delete/"
    assert client.get(url).status_code == 405
    for bad in ({}, {"reason": " "}, {"reason": "x" * 301}, {"reason": "a\0b"}):
        assert "Reason:" in text(client.post(url, bad, follow=True))
    assert Suppression.objects.count() == 1
    assert "off the list" in text(client.post(url, {"reason": "she asked for it"}, follow=True))
    assert not Suppression.objects.exists()
    log = LogEntry.objects.get()
    assert (log.change_message, log.is_deletion()) == ("Lifted: she asked for it", True)
    assert "ada" not in log.object_repr
    assert "not on the list" in text(client.post(url, {"reason": "again"}, follow=True))


def test_nobody_lifts_without_the_permission_nor_many_at_once(client):
    found = entry()
    viewer = staff("tracking.view_suppression")
    assert "Lift it" not in text(viewer.get(f"{LIST}{found.pk}/change/"))
    assert viewer.post(f"{LIST}{found.pk}/delete/", {"reason": "x"}).status_code == 403
    assert viewer.get(f"{LIST}add/").status_code == 403
    client.post(LIST, {"action": "delete_selected", "_selected_action": [found.pk], "post": "yes", "index": "0"})
    assert Suppression.objects.count() == 1
