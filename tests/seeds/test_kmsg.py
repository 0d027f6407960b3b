"""k-msg's document on DeliveryTracker, line by line, in Python's names; and each place where the original breaks what
it promises. The document is a reference without snippets: every heading of it is looked for here."""

from __future__ import annotations

import hmac
import inspect
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from providers.base import Receipt, ReceiptKind
from tests.builders import make_account, make_project
from tests.seeds.live import DOCUMENTS
from tracking import ids, loops
from tracking.emitter import Emitter
from tracking.kmsg import (
    DeliveryAttempt,
    DeliveryReport,
    DeliveryStats,
    MessageEvent,
    MessageEventType,
    MessageStatus,
    StatusHistoryEntry,
    TrackingRecord,
)
from tracking.models import Delivery, Event, Message, Project
from tracking.services import publish, receipts
from tracking.tracker import AlreadyTracked, DeliveryTracker, DeliveryWebhook

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = (DOCUMENTS / "kmsg-delivery-tracker.txt").read_text()
METHODS = re.findall(r"^### (\w+)\(\)$", TEXT, re.MULTILINE)
SIGNATURES = dict(re.findall(r"^> \*\*(\w+)\*\*\((.*?)\): ", TEXT, re.MULTILINE))
PHONE = "+821012345678"
ALL = ["message.queued", "message.sent", "message.delivered", "message.failed", "message.clicked", "message.cancelled"]


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def section(name: str) -> str:
    """What the document says of one method."""
    return TEXT.split(f"\n### {name}()\n")[1].split("\n***\n")[0]


@pytest.fixture
def project() -> Project:
    found = make_project(code="shop")
    make_account(found, code="iwinv", channel="sms")
    return found


@pytest.fixture
def tracker(project: Project) -> DeliveryTracker:
    return DeliveryTracker("shop", "sms", "iwinv")


@pytest.fixture
def hook(httpserver: HTTPServer, settings: Any) -> Iterator[tuple[list[Request], str]]:
    """A receiver: what it was asked, and its address."""
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    asked: list[Request] = []

    def answer(request: Request) -> Response:
        asked.append(request)
        return Response("", 200)

    httpserver.expect_request("/hook").respond_with_handler(answer)
    yield asked, httpserver.url_for("/hook")


def publish_all() -> None:
    assert loops.run_publish(0, seconds=1, others=lambda: None, handing_on=lambda: None)


def names(kind: type) -> set[str]:
    return set(inspect.signature(kind).parameters)


# --- the class: "Extends EventEmitter", "new DeliveryTracker(options)"


def test_it_is_an_emitter_and_takes_its_options(project: Project) -> None:
    assert issubclass(DeliveryTracker, Emitter)
    options: dict[str, Any] = {
        **{"tracking_interval": 5_000, "max_tracking_duration": 86_400_000, "batch_size": 100},
        **{"enable_webhooks": True, "webhook_retries": 3, "webhook_timeout": 5_000},
        "persistence": {"enabled": True, "retention_days": 30},
    }
    assert DeliveryTracker("shop", "sms").options.model_dump() == options  # its defaults
    half = {**options, "max_tracking_duration": 43_200_000}
    tracker = DeliveryTracker("shop", "sms", **half)
    tracker.track_message("m-1", PHONE)
    record = tracker.get_tracking_record("m-1")
    assert abs(record.expires_at - record.created_at - timedelta(hours=12)) < timedelta(seconds=1)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_there_with_its_parameters(name: str) -> None:
    """In the document's order, by its names; those of an options or details object by keyword."""
    ours = inspect.signature(getattr(DeliveryTracker, snake(name))).parameters
    said = [snake(each.strip(" `.?")) for each in re.findall(r"`([^`]+)`", SIGNATURES[name])]
    plain = [each for each in said if each not in ("options", "details")]
    assert [each for each in ours if each != "self"][: len(plain)] == plain
    grouped = [snake(each) for each in re.findall(r"^###### (\w+)\??$", section(name), re.MULTILINE)]
    assert set(grouped) <= set(ours)
    for each in grouped:
        assert ours[each].kind is inspect.Parameter.KEYWORD_ONLY


def test_the_document_was_read_whole() -> None:
    assert len(METHODS) == len(SIGNATURES) == 18
    assert set(re.findall(r"^###### (\w+)\??$", TEXT, re.MULTILINE)) == {
        *("initialStatus", "metadata", "webhooks", "clickedAt", "deliveredAt", "error", "failedAt", "provider"),
        *("sentAt", "source"),
    }


# --- add_listener, on, off, once, emit, remove_listener, remove_all_listeners


def test_listeners(tracker: DeliveryTracker) -> None:
    heard: list[tuple[Any, ...]] = []

    def listener(*args: Any) -> None:
        heard.append(args)

    assert tracker.emit("status:updated", 1) is False  # nobody listened
    assert tracker.on("status:updated", listener) is tracker
    assert tracker.emit("status:updated", 1, "two") is True and heard == [(1, "two")]
    assert tracker.add_listener("status:updated", listener) is tracker and tracker.listener_count("status:updated") == 2
    assert tracker.off("status:updated", listener) is tracker and tracker.listener_count("status:updated") == 1
    assert tracker.remove_listener("status:updated", listener) is tracker
    assert tracker.emit("status:updated") is False
    assert tracker.once("a", listener) is tracker
    assert (tracker.emit("a", 3), tracker.emit("a", 4)) == (True, False) and heard == [(1, "two"), (3,)]
    tracker.on("a", listener).on("b", listener).on("c", listener)
    assert tracker.remove_all_listeners("a") is tracker and tracker.event_names() == ["b", "c"]
    assert tracker.remove_all_listeners() is tracker and tracker.event_names() == []
    assert tracker.listeners("b") == []
    with pytest.raises(TypeError, match="listener"):
        tracker.on("a", "no function")  # type: ignore[arg-type]


# --- start: "Start delivery tracking"; stop: "Stop delivery tracking"


def test_start_and_stop_are_told(tracker: DeliveryTracker) -> None:
    told: list[str] = []
    for name in ("tracker:started", "tracker:stopped"):
        tracker.on(name, lambda name=name: told.append(name))
    tracker.start()
    tracker.start()  # it runs already
    tracker.stop()
    assert told == ["tracker:started", "tracker:stopped"]
    tracker.start()
    tracker.stop()
    assert len(told) == 4


# --- track_message: "Start tracking a message"


def test_track_message(tracker: DeliveryTracker, hook: tuple[list[Request], str]) -> None:
    _, url = hook
    webhook = DeliveryWebhook(url, ALL, "a secret", {"X-Team": "blue"}, timeout=2_000, retries=1)
    started: list[MessageEvent] = []
    tracker.on("tracking:started", started.append)
    tracker.track_message(
        "m-1",
        "+82 10-1234-5678",
        "welcome",
        "iwinv",
        initial_status=MessageStatus.SENDING,
        metadata={"campaign": "spring"},
        webhooks=[webhook],
    )
    record = tracker.get_tracking_record("m-1")
    assert (record.message_id, record.phone_number, record.template_id) == ("m-1", PHONE, "welcome")
    assert (record.provider, record.current_status) == ("iwinv", "SENDING")
    assert record.metadata == {"campaign": "spring"} and record.delivery_report.attempts[0].attempt_number == 1
    shown = record.webhooks[0]
    assert (shown.url, shown.events, shown.timeout, shown.retries) == (url, ALL, 2_000, 1)
    assert shown.secret is None and shown.headers == {"X-Team": ""}  # neither is shown again
    (event,) = started
    assert event.data == record and event.metadata == {"campaign": "spring"}


# --- update_status: "Update message status"


def test_update_status_with_every_detail(tracker: DeliveryTracker) -> None:
    now = datetime.now(UTC)
    tracker.track_message("m-1", PHONE)
    assert tracker.update_status(
        "m-1",
        MessageStatus.CLICKED,
        sent_at=now - timedelta(seconds=9),
        delivered_at=now - timedelta(seconds=6),
        clicked_at=now - timedelta(seconds=3),
        metadata={"link": "a"},
        provider="another name",
        source="webhook",
    )
    report = tracker.get_delivery_report("m-1")
    assert [report.sent_at, report.delivered_at, report.clicked_at] == [now - timedelta(seconds=s) for s in (9, 6, 3)]
    last = tracker.get_tracking_record("m-1").status_history[-1]
    assert (last.status, last.source, last.provider, last.details) == (
        *("CLICKED", "webhook", "another name"),
        {"link": "a"},
    )
    tracker.track_message("m-2", PHONE)
    error = {"code": "3104", "message": "not a Kakao user", "details": {"raw": 1}}
    assert tracker.update_status("m-2", "FAILED", failed_at=now, error=error)
    failed = tracker.get_delivery_report("m-2")
    assert failed.failed_at == now
    assert (failed.error.code, failed.error.message, failed.error.details) == tuple(error.values())


@pytest.mark.parametrize("source", re.findall(r'`"(\w+)"`', TEXT))
def test_the_sources_of_the_document(tracker: DeliveryTracker, source: str) -> None:
    tracker.track_message("m-1", PHONE)
    assert tracker.update_status("m-1", "SENT", source=source)
    assert tracker.get_tracking_record("m-1").status_history[-1].source == source


# --- get_delivery_report, get_tracking_record: "… for a message", or undefined


def test_the_fields_of_what_is_answered(tracker: DeliveryTracker) -> None:
    assert tracker.get_delivery_report("m-1") is None and tracker.get_tracking_record("m-1") is None
    assert names(TrackingRecord) == {
        *("message_id", "phone_number", "template_id", "provider", "current_status", "status_history"),
        *("delivery_report", "webhooks", "created_at", "updated_at", "expires_at", "metadata"),
    }
    assert names(StatusHistoryEntry) == {"status", "timestamp", "provider", "details", "source"}
    assert names(DeliveryReport) == {
        *("message_id", "phone_number", "status", "sent_at", "delivered_at", "clicked_at", "failed_at", "error"),
        *("attempts", "metadata"),
    }
    assert names(DeliveryAttempt) == {"attempt_number", "attempted_at", "status", "error", "provider"}
    assert names(DeliveryStats) == {
        *("total_messages", "by_status", "by_provider", "average_delivery_time", "delivery_rate", "failure_rate"),
        "last_updated",
    }
    assert names(DeliveryWebhook) == {"url", "events", "secret", "headers", "timeout", "retries"}
    assert names(MessageEvent) == {"id", "type", "timestamp", "data", "metadata"}
    assert [*MessageStatus] == ["QUEUED", "SENDING", "SENT", "DELIVERED", "FAILED", "CLICKED", "CANCELLED"]
    tracker.track_message("m-1", PHONE)
    assert tracker.get_delivery_report("m-1") == tracker.get_tracking_record("m-1").delivery_report


# --- get_messages_by_status: "Get messages by status"


def test_get_messages_by_status(tracker: DeliveryTracker) -> None:
    for status in MessageStatus:
        tracker.track_message(f"is {status}", PHONE, initial_status=status)
    for status in MessageStatus:
        assert [record.message_id for record in tracker.get_messages_by_status(status)] == [f"is {status}"]


# --- get_stats: "Get delivery statistics"; get_stats_for_period: "… for a specific time range"


def test_statistics_are_in_milliseconds_and_percent(tracker: DeliveryTracker) -> None:
    now = datetime.now(UTC)
    for number, status in enumerate(["DELIVERED", "DELIVERED", "CLICKED", "FAILED"]):
        tracker.track_message(f"m-{number}", PHONE)
        times = {"sent_at": now - timedelta(seconds=5)}
        if status != "FAILED":
            times["delivered_at"] = now - timedelta(seconds=5 - number)
        assert tracker.update_status(f"m-{number}", status, **times)
    stats = tracker.get_stats()
    assert (stats.total_messages, stats.delivery_rate, stats.failure_rate) == (4, 75, 25)
    assert stats.average_delivery_time == pytest.approx((0 + 1_000 + 2_000) / 3)
    assert stats.by_provider == {"iwinv": 4} and stats.by_status["DELIVERED"] == 2
    assert abs(stats.last_updated - datetime.now(UTC)) < timedelta(seconds=10)
    period = tracker.get_stats_for_period(now - timedelta(minutes=5), now + timedelta(minutes=5))
    assert period.by_status == stats.by_status and period.delivery_rate == 75
    assert tracker.get_stats_for_period(now - timedelta(hours=5), now - timedelta(hours=4)).total_messages == 0


# --- stop_tracking: "Stop tracking a specific message"; cleanup: "Clean up expired tracking records"


def test_stop_tracking(tracker: DeliveryTracker) -> None:
    tracker.track_message("m-1", PHONE)
    tracker.track_message("m-2", PHONE)
    assert tracker.stop_tracking("m-1") is True and tracker.stop_tracking("m-1") is False
    assert tracker.get_tracking_record("m-1") is None and tracker.get_tracking_record("m-2") is not None


def test_cleanup_says_how_many(project: Project) -> None:
    tracker = DeliveryTracker("shop", "sms", max_tracking_duration=1_000)
    told: list[Any] = []
    tracker.on("cleanup:completed", told.append)
    tracker.track_message("m-1", PHONE, initial_status="DELIVERED")
    assert tracker.cleanup() == 0
    connection.cursor().execute("UPDATE tracked_message SET expires_at = now()")
    assert tracker.cleanup() == 1 and told == [{"removed_count": 1}]


# --- where the original breaks its promises


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *[("DELIVERED", each) for each in ("FAILED", "CANCELLED", "SENT", "DELIVERED")],
        *[("FAILED", each) for each in ("FAILED", "DELIVERED", "SENDING", "CANCELLED")],
        *[("CLICKED", each) for each in ("FAILED", "DELIVERED", "CLICKED")],
        *[("CANCELLED", each) for each in ("SENDING", "SENT", "FAILED", "CANCELLED")],
    ],
)
def test_1_terminal_states_are_terminal(tracker: DeliveryTracker, before: str, after: str) -> None:
    tracker.track_message("m-1", PHONE, initial_status=before)
    history = tracker.get_tracking_record("m-1").status_history
    stats = tracker.get_stats().by_status
    assert tracker.update_status("m-1", after) is False
    assert tracker.get_tracking_record("m-1").status_history == history
    assert tracker.get_stats().by_status == stats


def test_2_a_click_lowers_no_rate(tracker: DeliveryTracker) -> None:
    for name in ("m-1", "m-2"):
        tracker.track_message(name, PHONE, initial_status="DELIVERED")
    assert tracker.get_stats().delivery_rate == 100
    tracker.update_status("m-1", "CLICKED")
    assert tracker.get_stats().delivery_rate == 100


def test_3_the_signature_is_one_and_the_secret_stays_here(
    tracker: DeliveryTracker, hook: tuple[list[Request], str]
) -> None:
    asked, url = hook
    tracker.track_message("m-1", PHONE, webhooks=[{"url": url, "events": ["message.sent"], "secret": "top secret"}])
    tracker.update_status("m-1", "SENT")
    publish_all()
    (request,) = asked
    body = request.get_data()
    assert request.headers["X-Signature"] == f"sha256={hmac.digest(b'top secret', body, 'sha256').hex()}"
    assert "top secret" not in f"{request.headers}{body!r}"


def test_4_the_cost_is_flat(tracker: DeliveryTracker) -> None:
    """Statements and what they look at; how long they take is a row of the bench."""

    def statements() -> list[str]:
        name = f"probe {ids.new()}"
        with CaptureQueriesContext(connection) as queries:
            tracker.track_message(name, PHONE)
            tracker.update_status(name, "DELIVERED")
        with CaptureQueriesContext(connection) as numbers:
            tracker.get_stats()
        assert not any(re.search(r"\b(FROM|JOIN) \"?message\b", query["sql"]) for query in numbers)
        return [query["sql"].split(" ")[0] for query in (*queries, *numbers)]

    statements()
    few = statements()
    for number in range(200):
        tracker.track_message(f"m-{number}", PHONE)
    assert statements() == few


def test_5_an_id_that_is_there_is_not_reset(tracker: DeliveryTracker) -> None:
    tracker.track_message("m-1", PHONE, initial_status="DELIVERED")
    with pytest.raises(AlreadyTracked):
        tracker.track_message("m-1", PHONE)
    assert tracker.get_delivery_report("m-1").status == "DELIVERED"
    assert [record.message_id for record in tracker.get_messages_by_status("DELIVERED")] == ["m-1"]
    assert tracker.get_messages_by_status("QUEUED") == []


def test_6_cleanup_loses_neither_records_nor_rates(tracker: DeliveryTracker) -> None:
    for name, status in (("m-1", "DELIVERED"), ("m-2", "FAILED")):
        tracker.track_message(name, PHONE, initial_status=status)
    assert tracker.cleanup() == 0  # that they have ended is no reason
    connection.cursor().execute("UPDATE tracked_message SET expires_at = now()")
    assert tracker.cleanup() == 2
    assert tracker.get_delivery_report("m-1").status == "DELIVERED"
    stats = tracker.get_stats()
    assert (stats.total_messages, stats.delivery_rate, stats.failure_rate) == (2, 50, 50)


def test_7_every_status_has_its_own_event(tracker: DeliveryTracker, hook: tuple[list[Request], str]) -> None:
    asked, url = hook
    types: list[str] = []
    tracker.on("status:updated", lambda event: types.append(event.type))
    tracker.track_message("m-1", PHONE, webhooks=[{"url": url, "events": ALL}])
    assert tracker.update_status("m-1", "SENDING") and tracker.update_status("m-1", "CANCELLED")
    assert types == [MessageEventType.SENDING, MessageEventType.CANCELLED]
    publish_all()
    # that it was handed over is told by `sent` only where somebody says so
    assert sorted(json.loads(each.get_data())["type"] for each in asked) == ["message.cancelled", "message.queued"]


def test_8_no_event_is_lost_or_told_twice_and_no_id_collides(
    tracker: DeliveryTracker, hook: tuple[list[Request], str]
) -> None:
    asked, url = hook
    tracker.start()
    for number in range(20):
        tracker.track_message(f"m-{number}", PHONE, webhooks=[{"url": url, "events": ["message.delivered"]}])
        tracker.update_status(f"m-{number}", "DELIVERED")
    tracker.stop()
    assert not asked and Delivery.objects.filter(state="pending").count() == 20
    publish_all()
    told = [json.loads(request.get_data()) for request in asked]
    assert len({each["id"] for each in told}) == len({each["data"]["messageId"] for each in told}) == len(told) == 20
    assert not publish.waiting()


def test_9_receipts_find_the_message_count_once_and_in_the_order_of_their_times(
    tracker: DeliveryTracker, project: Project
) -> None:
    now = datetime.now(UTC)
    tracker.track_message("m-1", PHONE, provider_message_id="vendor-1", initial_status="SENDING")
    account = project.accounts.get()
    late, early = now + timedelta(seconds=20), now + timedelta(seconds=10)
    told = [
        Receipt(ReceiptKind.READ, reference="vendor-1", event_id="3", occurred_at=late),
        Receipt(ReceiptKind.DELIVERED, reference="vendor-1", event_id="2", occurred_at=early),
        Receipt(ReceiptKind.DELIVERED, reference="vendor-1", event_id="2", occurred_at=early),
    ]
    for receipt in told:
        with transaction.atomic():
            receipts.apply([receipts.Item(ids.new(), 0, account.pk, now + timedelta(seconds=30), receipt)])
    record = tracker.get_tracking_record("m-1")
    assert [entry.status for entry in record.status_history] == ["SENDING", "DELIVERED", "CLICKED"]
    assert [entry.timestamp for entry in record.status_history[1:]] == [early, late]
    assert record.delivery_report.delivered_at == early and Message.objects.get().reference == "vendor-1"
    assert Event.objects.filter(kind="delivered").count() == 1
