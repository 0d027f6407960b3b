"""The console's pages of devices: found, read, declared invalid and valid again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from auditlog.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_device, make_project
from tests.dashboard.people import staff, superuser, text
from tests.dashboard.test_configuration import NO_GRANTS
from tracking.models import PushwooshSettings
from tracking.services import devices

pytestmark = pytest.mark.django_db
LIST = "/admin/tracking/device/"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def client() -> Client:
    return superuser()


def test_found_by_filters_and_by_what_names_it(client):
    project = make_project()
    plain = make_device(project, platform="ios", user_id="ada", hwid="hw-1")
    gone = make_device(make_project(), valid=False, reason="invalid_recipient", invalid_at=datetime.now(UTC))
    for query, found in (
        ("", [gone, plain]),
        (f"project={project.pk}", [plain]),
        ("platform=android", [gone]),
        ("token=invalid", [gone]),
        ("token=valid", [plain]),
        ("reason=invalid_recipient", [gone]),
        (f"q={plain.token}", [plain]),
        ("q=hw-1", [plain]),
        ("q=ada", [plain]),
        ("q=ad", []),
        ("platform=toaster", [gone, plain]),
    ):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(f"{LIST}?{query}")
        assert list(answer.context["cl"].result_list) == found, query
        assert len(queries) <= 9, query
    assert "refused by the provider" in text(client.get(LIST))


def test_its_page_escapes_what_applications_say(client):
    found = make_device(make_project(), hwid=HOSTILE, user_id=HOSTILE, tags={HOSTILE: HOSTILE}, detail=HOSTILE)
    with CaptureQueriesContext(connection) as queries:
        shown = text(client.get(f"{LIST}{found.pk}/change/"))
    assert HOSTILE not in shown and "&lt;script&gt;" in shown
    assert len(queries) <= 6


def test_invalidated_for_a_reason_and_back(client):
    found = make_device(make_project(), user_id="ada")
    url = f"{LIST}{found.pk}/"
    for bad in ({}, {"reason": " "}, {"reason": "x" * 301}, {"reason": "a\0b"}):
        assert "say why" in text(client.post(f"{url}invalidate/", bad, follow=True))
    found.refresh_from_db()
    assert found.valid
    assert client.get(f"{url}invalidate/").status_code == 405
    shown = text(client.post(f"{url}invalidate/", {"reason": HOSTILE}, follow=True))
    assert HOSTILE not in shown and "by hand" in shown
    found.refresh_from_db()
    assert (found.valid, found.reason, found.detail) == (False, "manual", HOSTILE)
    entry = LogEntry.objects.latest("pk")
    assert (entry.object_repr, entry.changes) == (f"device {found.pk}", {"valid": ["", "False"], "why": ["", HOSTILE]})
    assert "taken for valid" in text(client.post(f"{url}reactivate/", follow=True))
    found.refresh_from_db()
    assert found.valid
    assert devices.of_users(found.project_id, ["ada"], 5) == [found]


def test_a_viewer_reads_and_does_nothing(client):
    found = make_device(make_project())
    viewer = staff("tracking.view_device")
    assert "Invalidate" not in text(viewer.get(f"{LIST}{found.pk}/change/"))
    assert viewer.post(f"{LIST}{found.pk}/invalidate/", {"reason": "x"}).status_code == 403
    assert viewer.post(f"{LIST}{found.pk}/reactivate/").status_code == 403


def test_a_project_is_opened_to_pushwoosh_clients(client):
    project = make_project()
    url = f"/admin/tracking/project/{project.pk}/change/"
    form = {**NO_GRANTS, "retry": ""}
    given = {"pushwoosh-TOTAL_FORMS": "1", "pushwoosh-0-project": project.pk, "pushwoosh-0-enabled": "on"}
    answer = client.post(url, {**form, **given, "pushwoosh-0-application": "no spaces"})
    assert "Letters, digits, dots and hyphens" in text(answer)
    client.post(url, {**form, **given, "pushwoosh-0-application": "C90C0-0E786"})
    known = PushwooshSettings.objects.get()
    assert (known.project, known.enabled, known.application, known.open_registration) == (
        project,
        True,
        "C90C0-0E786",
        False,
    )
    assert LogEntry.objects.get_for_object(known).count() == 1
