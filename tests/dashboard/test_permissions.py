"""Who may do what: every address of the admin against every group."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from auditlog.models import LogEntry
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from dashboard import groups
from dashboard.models import AlertChannel, AlertRule, BulkOperation, Incident, SavedView
from providers.models import ErrorMapping
from tests.builders import (
    make_account,
    make_channel,
    make_device,
    make_endpoint,
    make_key,
    make_message,
    make_project,
)
from tests.dashboard.people import text
from tracking.models import (
    ApiKey,
    Batch,
    Consent,
    ConsentState,
    Delivery,
    Inbound,
    Login,
    PurgeRun,
    Suppression,
    Switch,
    Unmatched,
)
from tracking.selection import Filters
from tracking.services import consents, erase, exports, logins, remap, suppress
from tracking.services.consents import Asked, By

pytestmark = pytest.mark.django_db

GROUPS = ("viewer", "operator", "admin")  # each may do what the one before may
NOBODY = "nobody"

# The least group that a GET is answered for, by the end of the address's name; and the exceptions.
PAGES = {"changelist": "viewer", "change": "viewer", "history": "viewer", "add": "admin", "delete": NOBODY}
OTHER_PAGES = {
    "tracking_message_html": "viewer",
    "tracking_retention_add": NOBODY,
    "tracking_retention_purge": "viewer",
    "tracking_message_receipts": "viewer",
    "tracking_message_receivers": "viewer",
    "tracking_message_receivers-list": "viewer",
    "dashboard_bulkoperation_plan": "operator",
    "dashboard_bulkoperation_progress": "viewer",
    "dashboard_bulkoperation_add": NOBODY,
    "tracking_export_plan": "operator",
    "tracking_export_progress": "viewer",
    "tracking_export_add": NOBODY,
    "dashboard_savedview_add": "operator",
    "tracking_message_add": NOBODY,
    "tracking_batch_add": NOBODY,
    "tracking_inbound_add": NOBODY,
    "tracking_consent_add": "operator",
    "tracking_chatchannel_add": NOBODY,
    "tracking_chatchannel_members": "viewer",
    "tracking_chatchannel_messages": "viewer",
    "tracking_unmatched_add": NOBODY,
    "tracking_switch_add": NOBODY,
    "tracking_endpoint_add": NOBODY,
    "tracking_device_add": NOBODY,
    "dashboard_incident_add": NOBODY,
    "dashboard_alertrule_delete": "admin",
    "dashboard_alertchannel_delete": "admin",
    "overview_live": "viewer",
    "providers_provideraccount_page": "viewer",
    "providers_provideraccount_receipts": "viewer",
    "providers_provideraccount_failures": "viewer",
    "providers_errormapping_add": "operator",
    "providers_errormapping_delete": "operator",
    "providers_errormapping_run": "viewer",
    "tracking_delivery_add": NOBODY,
    "auditlog_logentry_add": NOBODY,
    "tracking_suppression_add": "operator",
    "dashboard_savedview_delete": NOBODY,  # but their owner
    "auth_user_delete": "admin",
    "auth_group_delete": "admin",
    "auth_user_password_change": "admin",
    "system": "viewer",
    "system_live": "viewer",
    "index": "viewer",
    "app_list": "viewer",
    "password_change": "viewer",
    "password_change_done": "viewer",
    "second_factor": "viewer",
} | {
    f"auth_{model}_{page}": "admin"
    for model in ("user", "group")
    for page in ("changelist", "change", "history", "add")
}
# Deeds, by POST alone.
DEEDS = {
    "tracking_suppression_delete": "operator",
    "tracking_retention_run": "admin",
    "tracking_message_retry": "operator",
    "tracking_message_retry-via": "operator",
    "tracking_message_send-again": "operator",
    "tracking_message_suppress": "operator",
    "tracking_message_cancel": "operator",
    "dashboard_bulkoperation_pause": "operator",
    "dashboard_bulkoperation_resume": "operator",
    "dashboard_bulkoperation_cancel": "operator",
    "tracking_export_download": "operator",
    "tracking_export_retry": "operator",
    "tracking_export_remove": "operator",
    "tracking_inbound_replay": "operator",
    "providers_provideraccount_reset-circuit": "operator",
    "providers_provideraccount_test-send": "operator",
    "providers_provideraccount_switch": "admin",
    "providers_provideraccount_rotate": "admin",
    "providers_provideraccount_end-rotation": "admin",
    "providers_errormapping_forget": "operator",
    "overview_sample": "admin",
    "dashboard_alertchannel_test": "admin",
    "dashboard_alertchannel_new-secret": "admin",
    "dashboard_alertrule_mute": "operator",
    "dashboard_incident_acknowledge": "operator",
    "dashboard_incident_note": "operator",
    "dashboard_incident_mute": "operator",
    "dashboard_incident_resend": "operator",
    "tracking_apikey_revoke": "admin",
    "tracking_login_revoke": "admin",
    "tracking_consent_withdraw": "operator",
    "tracking_consent_give": "operator",
    "tracking_endpoint_test": "operator",
    "tracking_endpoint_activate": "operator",
    "tracking_endpoint_deactivate": "operator",
    "tracking_endpoint_rotate": "admin",
    "tracking_delivery_replay": "operator",
    "tracking_device_invalidate": "operator",
    "tracking_device_reactivate": "operator",
    "auth_user_reset-second-factor": "admin",
    "system_pause": "operator",
    "system_resume": "operator",
    "system_pause_project": "operator",
    "system_resume_project": "operator",
    "system_check": "operator",
}
OPEN = {"login", "logout", "jsi18n", "view_on_site", "autocomplete", "second_factor_code", "None"}


@pytest.fixture
def clients() -> dict[str, Client]:
    groups.make()
    found = {}
    for name in GROUPS:
        user = User.objects.create(username=name, is_staff=True)
        user.groups.add(Group.objects.get(name=name))
        found[name] = Client()
        found[name].force_login(user)
    return found


@pytest.fixture
def keys() -> dict[str, object]:
    """One object of each model that has a page."""
    project = make_project()
    account = make_account(project, credentials={"hook_secret": "never-shown-secret"})
    message = make_message(project, content={"text": "x", "html": "<p>x</p>"})
    make_key(project)
    logins.create(project=project, username="shop")
    suppress.add([suppress.Entry(project.pk, "email", "ada@example.org", "manual")])
    request = Inbound.objects.create(
        id=message,
        account=account,
        method="POST",
        url=account.hook_url,
        headers={"authorization": "Basic never-shown-header"},
        body=b"{}",
        state="done",
    )
    consents.put(
        project_id=project.pk,
        wanted=[(Asked("email", "ada@example.org", "newsletter"), ConsentState.GRANTED)],
        by=By("api"),
    )
    stray = Unmatched.objects.create(
        account=account, inbound_id=request.pk, item=0, receipt={}, why="x", received_at="2026-01-01T00:00:00Z"
    )
    endpoint = make_endpoint(project, "http://hooks.invalid/in", secret="never-shown-secret")
    delivery = Delivery.objects.create(endpoint=endpoint, event="x", payload={}, next_try_at="2026-01-01T00:00:00Z")
    someone = User.objects.create(username="someone")
    rule = AlertRule.objects.create(name="Bounces", kind="bounce_high", threshold=0.1)
    now = datetime.now(UTC)
    incident = Incident.objects.create(
        rule=rule,
        name="Bounces",
        kind="bounce_high",
        severity="warning",
        threshold=0.1,
        window=15,
        opened_at=now,
        last_at=now,
        last_value=0.5,
        worst_value=0.5,
    )
    return {
        "retention": project.pk,
        "purge": PurgeRun.objects.create(started_at=now, worked_at=now, by="ops").pk,
        "erasure": erase.start(project=project, channel="email", recipient="eve@example.org", by="ops").pk,
        "alertrule": rule.pk,
        "alertchannel": AlertChannel.objects.create(name="team", kind="email", recipients="team@example.org").pk,
        "incident": incident.pk,
        "errormapping": ErrorMapping.objects.create(kind="sandbox", code="X-1").pk,
        "run": remap.start(kind="sandbox", days=1, by="ops").pk,
        "message": message,
        "export": exports.request(project=project, filters=Filters(), by="test").pk,
        "batch": Batch.objects.create(project=project, size=1).pk,
        "provideraccount": account.pk,
        "inbound": request.pk,
        "unmatched": stray.pk,
        "project": project.pk,
        "apikey": ApiKey.objects.get().pk,
        "login": Login.objects.get().pk,
        "chatchannel": make_channel(project, users=["u1"]).pk,
        "endpoint": endpoint.pk,
        "delivery": delivery.pk,
        "device": make_device(project).pk,
        "consent": Consent.objects.get().pk,
        "suppression": Suppression.objects.get().pk,
        "bulkoperation": BulkOperation.objects.create(
            kind="retry", query="", reason="x", rate=1, token=uuid4(), digest="x", who="someone"
        ).pk,
        "savedview": SavedView.objects.create(owner=someone, name="mine", query="", shared=True).pk,
        "switch": Switch.objects.create().pk,
        "user": someone.pk,
        "group": Group.objects.create(name="some").pk,
        "logentry": LogEntry.objects.get_for_object(project).latest("pk").pk,
    }


def addresses() -> list[tuple[str, str]]:
    """Every name in the admin, and the model that it is about."""
    found = []

    def walk(patterns: list) -> None:
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                walk(pattern.url_patterns)
            else:
                parts = str(pattern.name).split("_")
                found.append((str(pattern.name), parts[1] if len(parts) > 2 else ""))

    walk(admin.site.get_urls())
    return sorted(set(found))


def least(name: str) -> str:
    return OTHER_PAGES.get(name) or PAGES[name.rpartition("_")[2]]


def url_of(name: str, model: str, keys: dict[str, object]) -> str:
    if name == "app_list":
        return reverse("admin:app_list", args=["tracking"])
    model = {"providers_errormapping_run": "run", "tracking_retention_purge": "purge"}.get(name, model)
    model = "" if name == "tracking_retention_run" else model
    key = keys["project"] if "project" in name and name.startswith("system") else keys.get(model)
    needs_key = not name.endswith(("changelist", "add", "plan")) and (model in keys or name.endswith("_project"))
    query = "?kind=retry" if name == "dashboard_bulkoperation_plan" else ""
    return reverse(f"admin:{name}", args=[key] if needs_key else []) + query


def test_every_address_has_its_place_in_the_table():
    unknown = [
        name
        for name, _ in addresses()
        if name not in OPEN | set(DEEDS) | set(OTHER_PAGES) and name.rpartition("_")[2] not in PAGES
    ]
    assert unknown == []


def test_every_page_for_every_group(clients, keys):
    wrong = []
    for name, model in addresses():
        if name in OPEN | set(DEEDS):
            continue
        url, allowed = url_of(name, model, keys), least(name)
        for group, client in clients.items():
            response = client.get(url)
            expected = allowed != NOBODY and GROUPS.index(group) >= GROUPS.index(allowed)
            fits = response.status_code in ((200, 302) if expected else (403, 404))
            if not fits or (not expected and response.status_code == 200):
                wrong.append((name, group, response.status_code))
    assert wrong == []


def test_every_deed_for_every_group(clients, keys):
    """A refusal is 403 and does nothing; a GET never does anything."""
    wrong = []
    for name, allowed in DEEDS.items():
        model = name.split("_")[1] if len(name.split("_")) > 2 else ""
        url = url_of(name, model, keys)
        for group, client in clients.items():
            got = client.get(url).status_code
            done = client.post(url).status_code
            expected = GROUPS.index(group) >= GROUPS.index(allowed)
            if got != 405 and not (got == 403 and not expected) or (done == 403) is expected:
                wrong.append((name, group, got, done))
    assert wrong == []


def test_nobody_gets_in_without_a_login(keys):
    client = Client()
    for name, model in addresses():
        if name in OPEN:
            continue
        url = url_of(name, model, keys)
        for response in (client.get(url), client.post(url)):
            assert response.status_code == 302 and "/admin/login/" in response["Location"], name


def test_viewers_see_everything_but_secrets(clients, keys):
    """Every page that a viewer may open: no credential, no hook address, no proof of a provider."""
    account = Inbound.objects.get().account
    seen = 0
    for name, model in addresses():
        if name in OPEN | set(DEEDS) or least(name) != "viewer":
            continue
        shown = text(clients["viewer"].get(url_of(name, model, keys), follow=True))
        seen += 1
        for secret in ("never-shown", account.hook_token, account.sealed_credentials):
            assert secret not in shown, (name, secret)
    assert seen > 25
    shown = text(clients["admin"].get(reverse("admin:providers_provideraccount_page", args=[account.pk])))
    assert account.hook_url in shown  # who sets the account up needs it


def test_an_operator_neither_edits_accounts_nor_makes_keys_nor_people(clients, keys):
    operator = clients["operator"]
    for model in ("providers_provideraccount", "tracking_project", "auth_user", "auth_group"):
        url = reverse(f"admin:{model}_change", args=[keys[model.split("_")[1]]])
        assert operator.post(url, {}).status_code == 403, model
    assert operator.post(reverse("admin:tracking_apikey_add"), {}).status_code == 403


def test_the_table_of_groups_is_what_the_groups_have():
    groups.make()
    groups.make()  # again: the same
    known = Permission.objects.filter(content_type__app_label__in=groups.APPS).select_related("content_type")
    for name, patterns in groups.GROUPS.items():
        has = {f"{p.content_type.app_label}.{p.codename}" for p in Group.objects.get(name=name).permissions.all()}
        wanted = {f"{p.content_type.app_label}.{p.codename}" for p in known}
        assert has == {each for each in wanted if groups.covered(each, patterns)}
        assert has


def test_nothing_in_the_table_is_misspelt():
    """Every permission of ours that is no plain one of Django's is given to somebody below the administrators."""
    own = Permission.objects.filter(content_type__app_label__in=["tracking", "providers"])
    special = [p for p in own if not re.match(r"(add|change|delete|view)_", p.codename)]
    assert special
    for p in special:
        assert groups.covered(f"{p.content_type.app_label}.{p.codename}", groups.OPERATOR), p.codename


def test_what_an_installation_granted_beyond_the_table_stays():
    groups.make()
    extra = Permission.objects.get(codename="change_project")
    viewer = Group.objects.get(name="viewer")
    viewer.permissions.add(extra)
    groups.make()
    assert extra in viewer.permissions.all()
