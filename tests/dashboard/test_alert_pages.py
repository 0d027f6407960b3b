"""The pages of alert rules, incidents and channels."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dashboard import alerts, notify
from dashboard.models import (
    AlertChannel,
    AlertNotification,
    AlertReading,
    AlertRule,
    ChannelKind,
    Incident,
    IncidentEvent,
    SavedView,
)
from tests.dashboard.alerting import count, incident, make_channel, make_rule
from tests.dashboard.people import staff, superuser, text

pytestmark = pytest.mark.django_db
RULES, INCIDENTS = "/admin/dashboard/alertrule/", "/admin/dashboard/incident/"
CHANNELS = "/admin/dashboard/alertchannel/"
HOSTILE = "<script>alert(1)</script>"
FORM = {
    "name": "Bounces",
    "kind": "bounce_high",
    "metric": "",
    "view": "",
    "threshold": "5",
    "window": "15",
    "minimum": "50",
    "severity": "warning",
    "quiet": "10",
    "enabled": "on",
}
VIEWER = ("dashboard.view_incident", "dashboard.view_alertrule", "dashboard.view_alertchannel")


@pytest.fixture
def client() -> Client:
    return superuser()


def page(found, deed: str = "change") -> str:
    return reverse(f"admin:dashboard_{found._meta.model_name}_{deed}", args=[found.pk])


def opened(**kw) -> Incident:
    rule = make_rule(**kw)
    count(sent=100, bounced=50)
    alerts.evaluate_one(rule.pk)
    return incident(rule)


def view(query: str, **kw) -> SavedView:
    owner, _ = User.objects.get_or_create(username="ada")
    return SavedView.objects.create(**{"owner": owner, "name": query[:60], "query": query, "shared": True, **kw})


# --- rules


def test_a_rule_is_made_previewed_and_changed_with_history(client):
    count(timedelta(hours=3), sent=100, bounced=20)
    shown = text(client.post(f"{RULES}add/", {**FORM, "preview": "1"}))
    assert "this would have been open for" in shown and "<polyline" in shown
    assert not AlertRule.objects.exists()
    response = client.post(f"{RULES}add/", FORM, follow=True)
    rule = AlertRule.objects.get()
    assert "is saved" in text(response) and "not looked at" in text(response)
    assert client.post(page(rule), {**FORM, "threshold": "7.5"}).status_code == 302
    rule.refresh_from_db()
    assert rule.threshold == 7.5
    assert "Changed Threshold" in text(client.get(page(rule, "history")))
    assert "would not have opened" in text(client.post(page(rule), {**FORM, "threshold": "90", "preview": "1"}))
    rule.refresh_from_db()
    assert rule.threshold == 7.5


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["", "x" * 81, "\0", "Heartbeat missing", "taken"]),
        ("kind", ["", "nonsense", "circuit"]),
        ("threshold", ["", "0", "-1", "nan", "inf", "1e999", "101", "x"]),
        ("window", ["", "7", "99999999999999999999"]),
        ("minimum", ["-1", "x", "99999999999999999999"]),
        ("severity", ["", "terrible"]),
        ("quiet", ["-1", "1441", "x"]),
        ("metric", ["password"]),
        ("view", ["x", "999999", "status", "foreign"]),
        ("channels", ["x", "999999"]),
    ],
)
def test_bad_input_is_said_at_its_field(client, field, values):
    make_rule(name="taken")
    special = {"status": view("status=failed").pk, "foreign": view("channel=sms", shared=False).pk}
    for value in values:
        response = client.post(f"{RULES}add/", {**FORM, field: special.get(value, value)})
        assert response.status_code == 200
        shown = text(response)
        at = shown[shown.index(f'class="field-{field}"') :]
        assert 'role="alert"' in at[: at.index("</div>")] or "errorlist" in at[: at.index("</div>")], value
    assert AlertRule.objects.count() == 1


def test_the_form_says_units_with_examples(client):
    page = unescape(text(client.get(f"{RULES}add/")))
    assert "30 is 30 seconds and 0.5 is half a second (never milliseconds)" in page
    for said in (
        "threshold 95: too bad below 95 %",
        "threshold 30: too bad from 30 s",
        "threshold 300: too bad from 5 min",
        "threshold 1000: too bad from 1,000 messages",
        "threshold 3: too bad ± 3.0 ×",
    ):
        assert said in page


def test_what_is_unusual_needs_a_metric_and_whole_quarters(client):
    shown = text(client.post(f"{RULES}add/", {**FORM, "kind": "anomaly", "window": "5"}))
    assert "Choose what is to be watched" in shown and "take 15 min or more" in shown
    client.post(f"{RULES}add/", {**FORM, "kind": "anomaly", "metric": "sent", "window": "60"})
    assert AlertRule.objects.get().metric == "sent"
    shown = text(client.post(f"{RULES}add/", {**FORM, "metric": "sent", "name": "other"}, follow=True))
    assert AlertRule.objects.get(name="other").metric == ""


def test_built_in_rules_can_be_tuned_and_muted_and_not_deleted(client):
    alerts.ensure_built_in()
    rule = AlertRule.objects.get(kind="circuit")
    shown = text(client.get(page(rule)))
    assert 'name="threshold"' not in shown and "Delete" not in shown
    assert client.post(page(rule, "delete"), {"post": "yes"}).status_code == 403
    client.post(page(rule), {"severity": "info", "quiet": "5", "enabled": "", "kind": "bounce_high"})
    rule.refresh_from_db()
    assert (rule.severity, rule.kind, rule.enabled) == ("info", "circuit", True)
    client.post(page(rule, "mute"), {"minutes": "480"})
    rule.refresh_from_db()
    assert rule.is_muted and "muted" in text(client.get(RULES))
    client.post(page(rule, "mute"), {"minutes": "0"})
    rule.refresh_from_db()
    assert not rule.is_muted
    assert "Choose for how long" in text(client.post(page(rule, "mute"), {"minutes": "7"}, follow=True))


def test_the_list_shows_the_state_now(client):
    opened(name="burning")
    make_rule(name="stopped", enabled=False)
    broken = make_rule(name="broken", view=view("status=failed"))
    alerts.evaluate_one(broken.pk)
    shown = text(client.get(RULES))
    for word in ("incident</span>", "off</span>", "cannot be evaluated", "50 %"):
        assert word in shown
    assert "more than metrics are kept by" in text(client.get(page(broken)))


def test_a_view_that_a_rule_needs_is_not_deleted(client):
    used = view("channel=email")
    make_rule(view=used)
    client.post(reverse("admin:dashboard_savedview_delete", args=[used.pk]), {"post": "yes"})
    assert SavedView.objects.filter(pk=used.pk).exists()


# --- incidents


def test_open_ones_come_first_and_filters_narrow(client):
    long_open = opened(name="long open", severity="critical")
    over = opened(name="over")
    Incident.objects.filter(pk=over.pk).update(closed_at=datetime.now(UTC))
    shown = text(client.get(INCIDENTS))
    assert shown.index("<bdi>long open") < shown.index("<bdi>over")
    for query, found in (
        ("state=open", ["long open"]),
        ("state=closed", ["over"]),
        ("state=acknowledged", []),
        ("severity=critical", ["long open"]),
        (f"rule={over.rule_id}", ["over"]),
    ):
        assert re.findall(r"<bdi>([a-z ]+)</bdi>", text(client.get(f"{INCIDENTS}?{query}"))) == found, query
    for query in ("state=x", "severity=%00", "rule=x", "p=9999", "nonsense=1"):
        assert client.get(f"{INCIDENTS}?{query}", follow=True).status_code == 200
    assert long_open.state == "open"


def test_an_incident_is_acknowledged_noted_and_muted(client):
    make_channel()
    found = opened()
    shown = text(client.get(page(found)))
    assert "Acknowledge…" in shown and "50 %" in shown and "waiting" in shown
    client.post(page(found, "acknowledge"), {"note": "on it"})
    client.post(page(found, "note"), {"note": "still"})
    client.post(page(found, "mute"), {"minutes": "60"})
    shown = text(client.get(page(found)))
    for word in ("on it", "still", "for 1 h", "Unmute", "acknowledged", "by <bdi>ops</bdi>"):
        assert word in shown
    assert "Acknowledge…" not in shown
    assert "already" in text(client.post(page(found, "acknowledge"), follow=True))
    Incident.objects.update(closed_at=datetime.now(UTC))
    for deed in ("acknowledge", "mute"):
        assert "has ended" in text(client.post(page(found, deed), {"minutes": "60"}, follow=True))


@pytest.mark.parametrize("note", ["", "x" * 1_001, "\0"])
def test_a_bad_note_says_so(client, note):
    found = opened()
    assert "messagelist" in text(client.post(page(found, "note"), {"note": note}, follow=True))
    assert not IncidentEvent.objects.filter(kind="note").exists()


def test_its_messages_are_a_list_that_opens(client):
    found = opened(view=view("channel=email"))
    url = re.search(r'href="(/admin/tracking/message/\?[^"]+)">Messages', text(client.get(page(found))))[1]
    assert "channel=email" in url and "status=bounced" in url and "since=" in url
    assert "errorlist" not in text(client.get(url.replace("&amp;", "&")))


def test_the_chart_draws_what_the_rule_saw(client):
    found = opened()
    for minutes in range(1, 30):
        at = found.opened_at - timedelta(minutes=minutes)
        AlertReading.objects.create(rule_id=found.rule_id, at=at, value=minutes)
    shown = text(client.get(page(found)))
    assert "<polyline" in shown and "line-chart-span" in shown and "style=" not in shown.split("<main")[-1]
    found.rule.delete()
    assert "too few values" in text(client.get(page(found)))


def test_a_notification_is_sent_again(client):
    make_channel()
    found = opened()
    told = AlertNotification.objects.get()
    assert "still being sent" in text(client.post(page(found, "resend"), {"notification": told.pk}, follow=True))
    AlertNotification.objects.update(state="failed", attempts=5, next_at=None, error=HOSTILE)
    shown = text(client.get(page(found)))
    assert "Send again" in shown and HOSTILE not in shown
    client.post(page(found, "resend"), {"notification": told.pk})
    told.refresh_from_db()
    assert (told.state, told.attempts) == ("waiting", 0)
    other = opened()
    for key in ("x", "", uuid4(), told.pk):
        assert "no such" in text(client.post(page(other, "resend"), {"notification": key}, follow=True))


# --- channels


def test_the_secret_of_a_webhook_is_shown_once(client):
    form = {"name": "On-call", "kind": "webhook", "url": "https://example.org/h", "least": "info", "enabled": "on"}
    response = client.post(f"{CHANNELS}add/", form)
    channel = AlertChannel.objects.get()
    secret = channel.secrets["secret"]
    assert secret in text(response) and "no-store" in response["Cache-Control"]
    for url in (CHANNELS, page(channel), page(channel, "history")):
        shown = text(client.get(url))
        assert secret not in shown and "https://example.org/h" not in shown
    renewed = client.post(page(channel, "new-secret"))
    channel.refresh_from_db()
    assert channel.secrets["secret"] != secret and channel.secrets["secret"] in text(renewed)
    assert client.get(page(channel, "new-secret")).status_code == 405
    client.post(page(channel), {"name": "Other", "url": "", "least": "critical", "enabled": "on"})
    channel.refresh_from_db()
    assert (channel.name, channel.least) == ("Other", "critical")
    assert channel.secrets["url"] == "https://example.org/h"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"url": ""}, "Give the address"),
        ({"url": "http://example.org/"}, "must be https"),
        ({"url": "ftp://example.org/"}, "must be http(s)"),
        ({"url": "https://me:pw@example.org/"}, "no user name"),
        ({"url": "\0"}, "Null characters"),
        ({"kind": "email", "recipients": ""}, "who is to be told"),
        ({"kind": "email", "recipients": "ada"}, "is no e-mail address"),
        ({"kind": "email", "recipients": "ada@example.org"}, "set EMAIL_URL"),
        ({"kind": "pigeon"}, "pigeon"),
        ({"least": "x"}, "valid choice"),
        ({"name": ""}, "required"),
    ],
)
def test_a_bad_channel_says_what_is_wrong(client, bad, said, settings):
    settings.EMAIL_READY = False
    form = {"name": "a", "kind": "webhook", "url": "https://example.org/", "least": "info", "enabled": "on"}
    assert said in text(client.post(f"{CHANNELS}add/", {**form, **bad}))
    assert not AlertChannel.objects.exists()


def test_an_email_channel_is_made_and_tried(client, settings):
    settings.EMAIL_READY = True
    form = {"name": "Mail", "kind": "email", "recipients": " ada@example.org ,alan@example.org", "least": "info"}
    client.post(f"{CHANNELS}add/", {**form, "enabled": "on"})
    channel = AlertChannel.objects.get()
    assert channel.kind == ChannelKind.EMAIL and channel.recipients == "ada@example.org, alan@example.org"
    assert "on its way" in text(client.post(page(channel, "test"), follow=True))
    notify.deliver(seconds=5)
    assert "sent</span>" in text(client.get(page(channel)))
    assert "Only signed webhooks" in text(client.post(page(channel, "new-secret"), follow=True))


def test_a_channel_that_switched_itself_off_says_why(client):
    channel = make_channel(enabled=False, fault="HTTP 410")
    assert "HTTP 410" in text(client.get(page(channel)))
    client.post(page(channel), {"name": "a", "url": "", "least": "info", "enabled": "on"})
    channel.refresh_from_db()
    assert channel.enabled and channel.fault == ""


# --- of all pages


def test_permissions():
    make_channel()
    found = opened()
    viewer, outsider = staff(*VIEWER), staff("tracking.view_project")
    for url in (RULES, INCIDENTS, CHANNELS, page(found), page(found.rule), page(AlertChannel.objects.get())):
        assert viewer.get(url).status_code == 200, url
        assert outsider.get(url).status_code == 403, url
    shown = text(viewer.get(page(found)))
    for button in ("Acknowledge…", "Mute…", "Send again"):
        assert button not in shown
    assert 'name="preview"' not in text(viewer.get(page(found.rule)))
    for url in (
        f"{RULES}add/",
        page(found.rule),
        page(found.rule, "mute"),
        page(found, "acknowledge"),
        page(found, "note"),
        page(found, "mute"),
        page(found, "resend"),
        page(AlertChannel.objects.get(), "test"),
        page(AlertChannel.objects.get(), "new-secret"),
    ):
        assert viewer.post(url, FORM).status_code == 403, url
    operator = staff(*VIEWER, "dashboard.acknowledge_incident", "dashboard.mute_incident", "dashboard.mute_alertrule")
    for url in (page(found, "acknowledge"), page(found, "mute"), page(found.rule, "mute")):
        assert operator.post(url, {"minutes": "60"}).status_code == 302
        assert operator.get(url).status_code == 405
    assert operator.post(page(found.rule), FORM).status_code == 403


def test_hostile_texts_are_escaped(client):
    make_channel(name=HOSTILE)
    found = opened(name=HOSTILE, view=view("channel=email", name=HOSTILE))
    Incident.objects.update(text=HOSTILE, subject_name=HOSTILE, acknowledged_by=HOSTILE)
    Incident.objects.update(acknowledged_at=datetime.now(UTC))
    IncidentEvent.objects.update(text=HOSTILE, who=HOSTILE)
    AlertRule.objects.update(fault=HOSTILE)
    channel = AlertChannel.objects.get()
    for url in (RULES, INCIDENTS, CHANNELS, page(found), page(found.rule), page(channel), f"{RULES}add/"):
        assert HOSTILE not in text(client.get(url)), url
    assert HOSTILE not in text(client.post(f"{RULES}add/", {**FORM, "name": HOSTILE, "preview": "1"}))


def test_lists_and_pages_ask_few_queries(client):
    make_channel()
    urls = [RULES, INCIDENTS, CHANNELS, page(opened())]
    client.get(RULES)

    def asked() -> list[int]:
        found = []
        for url in urls:
            with CaptureQueriesContext(connection) as queries:
                assert client.get(url).status_code == 200
            found.append(len(queries))
        return found

    before = asked()
    for _ in range(15):
        opened()
        make_channel()
    assert asked() == before
    assert max(before) <= 10


@pytest.mark.parametrize("key", ["0", "x", "9" * 30, "%00"])
def test_what_is_not_there_is_said(client, key):
    for base in (RULES, INCIDENTS, CHANNELS):
        assert client.get(f"{base}{key}/change/", follow=True).status_code in (200, 400, 404)
