"""What ChatAPI's document says of running it: device tokens, alerts, troubleshooting and how long data are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client
from pytest_httpserver import HTTPServer

from dashboard import alerts, notify
from dashboard.models import AlertNotification
from providers.models import ProviderAccount
from tests.builders import make_account, make_counts, make_key, make_message, make_project
from tests.dashboard.alerting import count, make_channel, make_rule
from tests.dashboard.people import superuser, text
from tests.seeds.live import DOCUMENTS
from tests.tracking.aged import make_old, weeks_ago
from tests.tracking.test_devices import attempt_of, refuse
from tests.tracking.test_purge import agrees, run
from tracking import partitions, retention
from tracking.models import Project, Retention

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = (DOCUMENTS / "chatapi-delivery-tracking.txt").read_text()
TROUBLES = dict(re.findall(r"^- \*\*(.+?)\*\*: (.+)$", TEXT.split("### Troubleshooting")[1], re.M)[:4])
SAID = {name: name for name in TROUBLES} | {"Missing tracking": "Receipts are missing"}  # by the overview
PLANS = re.findall(r"^- \*\*(\w+) Plan\*\*: (\w+)", TEXT, re.M)


@pytest.fixture
def project() -> Project:
    """One that has been there for long."""
    found = make_project()
    Project.objects.filter(pk=found.pk).update(created_at=datetime.now(UTC) - timedelta(days=3_000))
    return found


def client_of(project: Project) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_key(project)}"})


# --- Device Registration: "Track device token validity"


def test_the_validity_of_device_tokens_is_tracked(project: Project) -> None:
    client = client_of(project)
    device = {"platform": "android", "token": "fHk3jd9s:APA91bG", "hwid": "phone-1"}

    def register() -> Any:
        return client.post("/v1/devices", json.dumps(device), content_type="application/json").json()

    def of(valid: str) -> list[str]:
        return [each["token"] for each in client.get(f"/v1/devices?valid={valid}").json()["devices"]]

    assert register()["valid"] is True and of("true") == [device["token"]]
    _, message, handover = attempt_of(project, device["token"])
    refuse(handover)
    assert of("true") == [] and of("false") == [device["token"]]
    (found,) = client.get("/v1/devices").json()["devices"]
    assert found["invalid"]["reason"] == "invalid_recipient"
    assert found["invalid"]["notification_id"] == str(message)
    next_one = make_message(project, channel="push", recipient=device["token"])
    assert client.get(f"/v1/notifications/{next_one}").json()["reason"] == "suppressed"
    assert register()["valid"] is True
    after = make_message(project, channel="push", recipient=device["token"])
    assert client.get(f"/v1/notifications/{after}").json()["status"] == "pending"


# --- Monitoring Setup: "Monitor delivery rates and set up alerts for low performance"


def test_a_low_delivery_rate_alerts_by_webhook_and_by_mail(httpserver: HTTPServer, settings: Any) -> None:
    settings.EMAIL_READY = True
    httpserver.expect_request("/alerts", method="POST").respond_with_data("ok")
    make_channel(url=httpserver.url_for("/alerts"), allow_private=True)
    make_channel("email", recipients="ops@example.org")
    rule = make_rule("delivery_low", name="Deliveries of the shop", threshold=90.0, minimum=50)
    count(sent=100, delivered=95, failed=3, bounced=2)
    alerts.evaluate_one(rule.pk)
    assert not AlertNotification.objects.exists()  # 95 % is well
    count(sent=100, delivered=55, failed=40, bounced=5)
    type(rule).objects.update(checked_at=None)
    alerts.evaluate_one(rule.pk)
    notify.deliver(seconds=5)
    assert [told.state for told in AlertNotification.objects.all()] == ["sent", "sent"]
    ((request, _),) = httpserver.log
    told = json.loads(request.data)
    assert told["type"] == "incident.opened" and told["data"]["rule"] == rule.name and told["data"]["value"] == 75.0
    (letter,) = mail.outbox
    assert letter.to == ["ops@example.org"] and rule.name in letter.subject


# --- Troubleshooting: what the overview says of the four troubles


@pytest.mark.parametrize(
    ("trouble", "counts", "advice"),
    [
        # "Verify recipient addresses and list quality"
        (
            "High bounce rate",
            {"delivered": 80, "bounced": 20, "bounced_hard": 20},
            "clean the list that they come from",
        ),
        # "Check provider configuration and limits"
        ("Low delivery rate", {"delivered": 70, "failed": 30, "failed_permanent": 30}, "the account's credentials"),
        ("Low delivery rate", {"delivered": 70, "failed": 30, "failed_rate_limit": 30}, "the account's rate limit"),
        # "Monitor provider performance and queues"
        ("Delayed delivery", {"delivered": 100, "late": 40, "timed": 100}, "See whether the backlog grows"),
        # "Verify webhook configuration and endpoints": the provider's here, one's own in the test below
        ("Missing tracking", {"attempts_started": 100, "attempts_accepted": 100}, "sent to the account's hook address"),
    ],
)
def test_the_overview_finds_each_trouble_and_says_what_to_do(
    project: Project, trouble: str, counts: dict[str, int], advice: str
) -> None:
    cache.clear()
    account = make_account(project)
    at = (datetime.now(UTC) - timedelta(minutes=30)).replace(second=0, microsecond=0)
    make_counts(project, at, {"created": 100, "sent": 100, **counts}, account_id=account.pk)
    page = text(superuser().get("/admin/"))
    assert SAID[trouble] in page and advice in page.replace("&#x27;", "'")
    assert [said for said in SAID.values() if f"{said}<" in page] == [SAID[trouble]]


def test_a_webhook_that_hears_nothing_can_be_asked_why(project: Project, httpserver: HTTPServer, settings: Any) -> None:
    """ "Missing tracking: Verify webhook configuration and endpoints"."""
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    client = client_of(project)
    httpserver.expect_request("/moved").respond_with_data("gone to another place", status=404)
    body = {"url": httpserver.url_for("/moved"), "events": ["notification.delivered"]}
    made = client.post("/v1/webhooks", json.dumps(body), content_type="application/json").json()
    tried = client.post(f"/v1/webhooks/{made['id']}/test").json()
    assert (tried["delivered"], tried["response_status"], tried["error"]) == (False, 404, "HTTP 404")
    assert tried["response_body"] == "gone to another place"
    (listed,) = client.get(f"/v1/webhooks/{made['id']}/deliveries").json()["deliveries"]
    assert listed["state"] == "failed"


# --- Data Retention


@pytest.fixture
def old_weeks_end_with_the_test() -> Iterator[None]:
    yield
    fresh = partitions.week_start(datetime.now(UTC)) - partitions.WEEK
    partitions.drop(*(each for each in partitions.existing() if each.starts < fresh))


def test_the_plans_of_the_document_are_those_that_there_are() -> None:
    assert PLANS == [("Free", "30"), ("Pro", "90"), ("Enterprise", "Custom")]
    days = {plan.value: days for plan, days in retention.PLAN_DAYS.items()}
    assert days == {"free": 30, "pro": 90}


@pytest.mark.parametrize(
    ("plan", "days"), [("free", 30), ("pro", 90), ("custom", 200)], ids=["Free", "Pro", "Enterprise"]
)
def test_each_plan_keeps_messages_for_its_days(
    project: Project, plan: str, days: int, old_weeks_end_with_the_test: None
) -> None:
    """A week goes once its last message is past them. The other project keeps the weeks themselves alive."""
    other = make_project()
    Project.objects.filter(pk=other.pk).update(created_at=datetime.now(UTC) - timedelta(days=3_000))
    Retention.objects.create(project=other, plan="custom", days=3_650, content_days=30)
    chosen = {"plan": plan, "days": str(days), "content_days": "20"}
    assert superuser().post(f"/admin/tracking/retention/{project.pk}/change/", chosen).status_code == 302
    account: ProviderAccount = make_account(project)
    weeks = (days // 7, days // 7 + 2)  # the middle of the one is within, the whole of the other past
    kept, gone = (make_old(project, account, weeks_ago(each)) for each in weeks)
    others = make_old(other, account, weeks_ago(weeks[1]))
    run()
    client = client_of(project)
    assert client.get(f"/v1/notifications/{kept}").status_code == 200
    answer = client.get(f"/v1/notifications/{gone}")
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:postroom:purged")
    assert client_of(other).get(f"/v1/notifications/{others}").status_code == 200
    assert agrees()
