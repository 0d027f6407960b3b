"""ChatAPI's document on delivery tracking, line by line, against a live server: its snippets run with only host and key
replaced. Exports, and what it says of running it (alerts, troubles, retention), have modules of their own."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook
from werkzeug import Request, Response

from providers.base import BounceClass, FailureClass
from tests.builders import make_account, make_counts, make_key, make_project
from tests.seeds.live import DOCUMENTS, Live, blocks, run, serve
from tests.seeds.reading import NOTHING, read_whole
from tracking.models import Project
from tracking.policy import RetryPolicy
from tracking.services.record import DISPATCH, Record, Source
from tracking.statuses import Decision, Fact, FactKind

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

NAME = "chatapi-delivery-tracking"
TEXT = (DOCUMENTS / f"{NAME}.txt").read_text()
WEBHOOK, STATUS, BULK, METRICS, RETRY, _EXPORT = blocks(NAME, "bash")
TRACKING, METRICS_ANSWER = (json.loads(block) for block in blocks(NAME, "json"))
HANDLER, RETRY_CONFIG = blocks(NAME, "python")
STATUSES = re.findall(r"^\| `(\w+)` ", TEXT, re.MULTILINE)
SECRET = "your_webhook_secret"  # the document's


@pytest.fixture(scope="module")
def live(django_db_setup: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that may call webhooks of this machine."""
    with serve(tmp_path_factory.mktemp("live") / "log", WEBHOOK_NETWORKS="127.0.0.0/8") as server:
        yield server


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def key(project: Project) -> str:
    make_account(project, code="smtp")
    return make_key(project)


@pytest.fixture(params=["", "/api"], ids=["v1", "api-v1"])
def curl(request: pytest.FixtureRequest, live: Live, key: str) -> Callable[..., Any]:
    """Runs a curl line of the document; below /v1 and, as ChatAPI itself has it, below /api/v1."""

    def call(line: str, **replaced: str) -> Any:
        line = line.replace("https://api.chatapi.dev", live.url + request.param).replace("YOUR_API_KEY", key)
        for old, new in replaced.items():
            line = line.replace(old, new)
        return json.loads(run("bash", line))

    return call


def hand_in(live: Live, key: str, **kw: Any) -> UUID:
    body = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}, **kw}
    taken = live.request("POST", "/v1/notifications", key=key, json=body)
    assert taken.status_code == 202, taken.text
    return UUID(taken.json()["id"])


def sent(live: Live, key: str, **kw: Any) -> UUID:
    found = hand_in(live, key, **kw)
    live.work("dispatch")
    return found


def learn(message_id: UUID, kind: FactKind, **kw: Any) -> None:
    """What a provider's receipt brings."""
    with transaction.atomic():
        work = Record([message_id])
        row = work.messages[message_id]
        work.add_fact(row, row.tries[-1], Fact(kind, work.now, **kw), key=f"told {kind}", source=Source("provider"))
        work.learn()
        if kind in (FactKind.FAILED, FactKind.BOUNCED):
            work.decide(row, Decision.GIVE_UP, source=DISPATCH)
        work.save()


def shaped_like(example: Any, found: Any, where: str = "") -> None:
    """Every field of the document is there, with a value of the same kind (null in either is no kind)."""
    if isinstance(example, dict):
        for name, value in example.items():
            assert name in found, f"{where}.{name} is missing"
            shaped_like(value, found[name], f"{where}.{name}")
    elif example is not None and found is not None:
        assert type(found) is type(example), where


# --- Real-time Status Updates, Status Types


def test_a_status_has_every_field_of_the_document(live: Live, key: str, curl: Callable[..., Any]) -> None:
    message = sent(live, key)
    learn(message, FactKind.DELIVERED)
    found = curl(STATUS, **{"{notification_id}": str(message)})
    shaped_like(TRACKING, found)
    assert found["status"] == TRACKING["status"] == "delivered"
    assert found["tracking"]["attempts"] == 1 and found["tracking"]["provider"] == TRACKING["tracking"]["provider"]
    times = [found["tracking"][name] for name in ("created_at", "sent_at", "delivered_at")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", at) for at in times)
    assert times == sorted(times) and found["tracking"]["read_at"] is None


def begin(message_id: UUID) -> None:
    with transaction.atomic():
        work = Record([message_id])
        row = work.messages[message_id]
        work.start_attempt(row, account_id=row.account_id or 0, idempotency_key="k")
        work.save()


REACHED: dict[str, Callable[[Live, str], UUID]] = {
    "pending": lambda live, key: hand_in(live, key),
    "processing": lambda live, key: _then(hand_in(live, key), begin),
    "sent": lambda live, key: sent(live, key),
    "delivered": lambda live, key: _then(sent(live, key), lambda each: learn(each, FactKind.DELIVERED)),
    "failed": lambda live, key: _then(
        sent(live, key), lambda each: learn(each, FactKind.FAILED, failure=FailureClass.PERMANENT)
    ),
    "bounced": lambda live, key: _then(
        sent(live, key), lambda each: learn(each, FactKind.BOUNCED, bounce=BounceClass.HARD)
    ),
    "read": lambda live, key: _then(sent(live, key), lambda each: learn(each, FactKind.OPENED)),
}


def _then(message_id: UUID, do: Callable[[UUID], None]) -> UUID:
    do(message_id)
    return message_id


def test_the_table_of_statuses_is_known() -> None:
    assert set(STATUSES) == set(REACHED)


def test_every_status_of_the_table_is_told(live: Live, key: str) -> None:
    for status in STATUSES:
        message = REACHED[status](live, key)
        found = live.request("GET", f"/v1/notifications/{message}", key=key).json()
        assert found["status"] == status
        assert (found["tracking"]["read_at"] is not None) == (status == "read"), status
        assert (found["tracking"]["delivered_at"] is not None) == (status in ("delivered", "read")), status


# --- Webhooks for Tracking


class App:
    """What the handler of the document is written for, as far as it uses it."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[dict[str, Any]], Any]] = {}

    def post(self, path: str) -> Callable[[Any], Any]:
        return lambda handler: self.handlers.setdefault(path, handler)


@pytest.fixture
def receiver(httpserver: HTTPServer, settings: Any) -> Iterator[tuple[list[tuple[str, str, str]], list[Request]]]:
    """The document's own handler behind an HTTP server: what it updated, and what was asked."""
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    app, updated, asked = App(), [], []

    async def update_notification_status(*values: str) -> None:
        updated.append(values)

    exec(HANDLER, {"app": app, "update_notification_status": update_notification_status})
    ((path, handler),) = app.handlers.items()

    def answer(request: Request) -> Response:
        asked.append(request)
        return Response(json.dumps(asyncio.run(handler(json.loads(request.get_data())))), 200)

    httpserver.expect_request(path).respond_with_handler(answer)
    yield updated, asked  # type: ignore[misc]


def test_webhooks_reach_the_documents_handler(
    live: Live,
    key: str,
    curl: Callable[..., Any],
    httpserver: HTTPServer,
    receiver: tuple[list[tuple[str, str, str]], list[Request]],
) -> None:
    updated, asked = receiver
    made = curl(WEBHOOK, **{"https://yourapp.com": httpserver.url_for("").rstrip("/")})
    assert set(made["events"]) == {"notification.delivered", "notification.failed", "notification.read"}
    assert made["secret"] == SECRET and made["is_active"] is True
    good, bad = sent(live, key), sent(live, key)
    learn(good, FactKind.DELIVERED)
    learn(good, FactKind.OPENED)
    learn(bad, FactKind.FAILED, failure=FailureClass.PERMANENT)
    live.work("publish", seconds=2)
    assert sorted((status, UUID(message)) for message, status, _ in updated) == [
        ("delivered", good),
        ("failed", bad),
        ("read", good),
    ]  # nothing of `sent`: nobody asked for it
    for _, _, timestamp in updated:
        assert abs((datetime.fromisoformat(timestamp) - datetime.now(UTC)).total_seconds()) < 60
    for request in asked:
        body = request.get_data()
        digest = hmac.digest(SECRET.encode(), body, "sha256").hex()
        assert request.headers["X-ChatAPI-Signature"] == f"sha256={digest}"
        Webhook(made["signing_secret"]).verify(body, dict(request.headers))  # raises


# --- Query Delivery Status


def test_bulk_status_answers_for_each_id_in_order(live: Live, key: str, curl: Callable[..., Any]) -> None:
    first, second = sent(live, key, external_id="notif_1"), sent(live, key, external_id="notif_2")
    found = curl(BULK)["statuses"]
    assert [each["id"] for each in found] == ["notif_1", "notif_2", "notif_3"]
    assert [each["status"] for each in found] == ["sent", "sent", None]
    assert [UUID(each["notification_id"]) for each in found[:2]] == [first, second]
    assert found[2]["reason"] == "not_found"
    shaped_like(TRACKING, found[1])


def test_the_key_may_come_as_other_pages_of_the_system_say(live: Live, key: str) -> None:
    assert live.request("GET", "/api/v1/notifications", headers={"X-API-Key": key}).status_code == 200
    assert live.request("GET", "/api/v1/notifications").status_code == 401


# --- Analytics and Reporting


def test_the_metrics_are_those_of_the_document(
    live: Live, key: str, project: Project, curl: Callable[..., Any]
) -> None:
    counts = {"created": 1000, "sent": 1000, "delivered": 950, "failed": 30, "bounced": 20}
    make_counts(project, datetime(2023, 12, 1, 9, tzinfo=UTC), counts | {"timed": 950, "delivery_ms": 950 * 2300})
    found = curl(METRICS)["metrics"]
    (example,) = METRICS_ANSWER["metrics"]
    assert {name: found[0][name] for name in example} == example
    assert len(found) == 31


def test_the_key_figures_of_performance_tracking(live: Live, key: str, project: Project) -> None:
    """Delivery rate, bounce rate, average delivery time, and a comparison across providers."""
    account = make_account(project, code="other")
    for account_id, delivered in ((account.pk, 5), (None, 9)):
        counts = {"created": 10, "sent": 10, "delivered": delivered, "bounced": 1, "timed": 4, "delivery_ms": 8000}
        make_counts(project, datetime(2023, 12, 1, tzinfo=UTC), counts, account_id=account_id)
    query = "?start_date=2023-12-01&end_date=2023-12-31"
    found = live.request("GET", f"/v1/analytics/performance{query}", key=key).json()
    assert (found["delivery_rate"], found["bounce_rate"], found["avg_delivery_time"]) == (0.7, 0.1, 2.0)
    compared = live.request("GET", f"/v1/analytics/providers{query}", key=key).json()["providers"]
    assert {each["provider"]: each["delivery_rate"] for each in compared} == {"other": 0.5, None: 0.9}


# --- Error Handling and Retries


def test_the_documents_retry_config_is_the_default_and_is_taken(live: Live, key: str) -> None:
    known: dict[str, Any] = {}
    exec(RETRY_CONFIG, known)
    config = known["retry_config"]
    default = RetryPolicy()
    assert {name: getattr(default, name) for name in config if name != "retry_conditions"} == {
        name: value for name, value in config.items() if name != "retry_conditions"
    }
    assert {str(each) for each in default.retry_conditions} == set(config["retry_conditions"])
    message = hand_in(live, key, retry=config)
    assert live.request("GET", f"/v1/notifications/{message}", key=key).json()["retry"] == config


def test_a_failed_message_is_retried_by_hand(live: Live, key: str, curl: Callable[..., Any]) -> None:
    message = REACHED["failed"](live, key)
    assert curl(RETRY, **{"{notification_id}": str(message)})["status"] in ("pending", "processing")
    live.work("dispatch")
    found = live.request("GET", f"/v1/notifications/{message}", key=key).json()
    assert (found["status"], found["tracking"]["attempts"]) == ("sent", 2)
    learn(message, FactKind.DELIVERED)
    assert curl(RETRY, **{"{notification_id}": str(message)})["status"] == 409  # a problem: there is nothing to force


# --- Provider-Specific Tracking


@pytest.mark.parametrize(
    ("channel", "kind", "status"),
    [
        ("email", FactKind.OPENED, "read"),
        ("email", FactKind.CLICKED, "read"),
        ("email", FactKind.UNSUBSCRIBED, "sent"),
        ("sms", FactKind.DELIVERED, "delivered"),  # the carrier's report
        ("sms", FactKind.READ, "read"),
        ("sms", FactKind.CLICKED, "read"),
        ("push", FactKind.DELIVERED, "delivered"),  # the platform's
        ("push", FactKind.OPENED, "read"),
        ("push", FactKind.CLICKED, "read"),
    ],
)
def test_what_recipients_do_is_tracked(
    live: Live, key: str, project: Project, channel: str, kind: FactKind, status: str
) -> None:
    if channel != "email":
        make_account(project, channel=channel)
    to = {"email": "ada@example.org", "sms": "+380501230001", "push": "fHk3jd9s:APA91bG"}[channel]
    message = sent(live, key, channel=channel, recipient=to)
    learn(message, kind)
    events = live.request("GET", f"/v1/notifications/{message}/events", key=key).json()["events"]
    assert kind.value in [event["kind"] for event in events]
    assert live.request("GET", f"/v1/notifications/{message}", key=key).json()["status"] == status


# --- the whole of it


def test_the_document_was_read_whole() -> None:
    """Its headings and its points, and the tests that show what they promise."""
    lines = [found or point for found, point in re.findall(r"^(?:#+ (.+)|(?:-|\d\.) \*\*(.+))$", TEXT, re.MULTILINE)]
    key_figures = "test_the_key_figures_of_performance_tracking"
    done = "test_what_recipients_do_is_tracked"
    devices = "test_the_validity_of_device_tokens_is_tracked"
    troubles = "test_the_overview_finds_each_trouble_and_says_what_to_do"
    webhooks, plans = "test_webhooks_reach_the_documents_handler", "test_each_plan_keeps_messages_for_its_days"
    shown_by = {
        "Delivery Tracking": NOTHING,
        "Tracking Methods": NOTHING,
        "Real-time Status Updates": "test_a_status_has_every_field_of_the_document",
        "Status Types": "test_the_table_of_statuses_is_known test_every_status_of_the_table_is_told",
        "Webhooks for Tracking": webhooks,
        "Setup Webhook Endpoint": webhooks,
        "In your webhook handler": webhooks,
        "Configure Webhook URL": webhooks,
        "Query Delivery Status": NOTHING,
        "Get Notification Status": "test_a_status_has_every_field_of_the_document",
        "Bulk Status Query": "test_bulk_status_answers_for_each_id_in_order",
        "Analytics and Reporting": NOTHING,
        "Delivery Metrics": "test_the_metrics_are_those_of_the_document",
        "Performance Tracking": key_figures,
        "Delivery Rate": key_figures,
        "Bounce Rate": key_figures,
        "Average Delivery Time": key_figures,
        "Provider Performance": key_figures,
        "Error Handling and Retries": NOTHING,
        "Automatic Retries": "test_the_documents_retry_config_is_the_default_and_is_taken",
        "Manual Retry": "test_a_failed_message_is_retried_by_hand",
        "Provider-Specific Tracking": NOTHING,
        "Email Tracking": done,
        "Open Tracking": done,
        "Click Tracking": done,
        "Unsubscribe Tracking": done,
        "SMS Tracking": done,
        "Delivery Reports": done,
        "Read Receipts": done,
        "Link Tracking": done,
        "Push Notification Tracking": NOTHING,
        "Device Registration": devices,
        "Delivery Status": done,
        "Interaction Tracking": done,
        "Best Practices": NOTHING,
        "Monitoring Setup": NOTHING,
        "Set up webhooks": webhooks,
        "Monitor delivery rates": "test_a_low_delivery_rate_alerts_by_webhook_and_by_mail",
        "Track bounces": f"test_every_status_of_the_table_is_told {troubles}",
        "Analyze provider performance": key_figures,
        "Troubleshooting": NOTHING,
        "High bounce rate": troubles,
        "Low delivery rate": troubles,
        "Delayed delivery": troubles,
        "Missing tracking": f"{troubles} test_a_webhook_that_hears_nothing_can_be_asked_why",
        "Data Retention": "test_the_plans_of_the_document_are_those_that_there_are",
        "Free Plan": plans,
        "Pro Plan": plans,
        "Enterprise Plan": f"{plans} test_the_snippet_as_it_stands",
    }
    read_whole(lines, shown_by)
