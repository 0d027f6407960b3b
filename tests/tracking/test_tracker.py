"""DeliveryTracker: what is recorded, told, counted, and by whom it is heard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
import time_machine
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook
from werkzeug import Request, Response

from providers.base import Receipt, ReceiptKind
from tests import database
from tests.builders import make_account, make_endpoint, make_message, make_project, sender_of
from tracking import ids, news, signing_out, tasks, wake
from tracking.models import Delivery, Endpoint, Event, Message, Project, TrackedMessage, TrackerListener
from tracking.services import act, check, endpoints, message_webhooks, publish, receipts, route, submit
from tracking.services.record import Record, Source
from tracking.statuses import Fact, FactKind
from tracking.tracker import AlreadyTracked, DeliveryTracker, DeliveryWebhook, Invalid, MessageStatus

pytestmark = pytest.mark.django_db(transaction=True)
PHONE = "+821012345678"


@pytest.fixture
def project() -> Project:
    found = make_project(default_region="KR")
    make_account(found, code="carrier", channel="sms")
    return found


@pytest.fixture
def tracker(project: Project) -> DeliveryTracker:
    return DeliveryTracker(project.code, "sms", "carrier")


def heard(tracker: DeliveryTracker, *names: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name in names:
        tracker.on(name, lambda event=None, name=name: found.append((name, event)))
    return found


def field_of(invalid: pytest.ExceptionInfo[Invalid]) -> str:
    return invalid.value.errors[0].pointer


# --- begin


def test_a_tracked_message_is_a_message(tracker: DeliveryTracker, project: Project) -> None:
    tracker.track_message("m-1", "010-1234-5678", "welcome", metadata={"order": 7})
    message = Message.objects.get()
    assert (message.external_id, message.recipient, message.template_id) == ("m-1", PHONE, "welcome")
    assert (message.status, message.attempts, message.channel) == ("pending", 0, "sms")
    assert list(check.differences()) == []
    record = tracker.get_tracking_record("m-1")
    assert record.message_id == "m-1" and record.metadata == {"order": 7} and record.provider == "carrier"
    assert record.current_status is MessageStatus.QUEUED and record.expires_at > record.created_at
    assert [entry.status for entry in record.status_history] == ["QUEUED"]


def test_an_id_that_exists_is_an_error_and_not_a_reset(tracker: DeliveryTracker, project: Project) -> None:
    tracker.track_message("m-1", PHONE)
    assert tracker.update_status("m-1", "DELIVERED")
    with pytest.raises(AlreadyTracked, match="message_id"):
        tracker.track_message("m-1", PHONE)
    assert tracker.get_delivery_report("m-1").status == "DELIVERED"
    assert tracker.get_stats().by_status["QUEUED"] == 0
    other = make_project()
    make_account(other, channel="sms")
    DeliveryTracker(other, "sms").track_message("m-1", PHONE)  # ids are a project's own
    assert Message.objects.count() == 2


def test_two_at_once_make_one(tracker: DeliveryTracker) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def begin() -> None:
        barrier.wait()
        try:
            tracker.track_message("m-1", PHONE)
            outcomes.append("made")
        except AlreadyTracked:
            outcomes.append("there")
        finally:
            connection.close()

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", "there", "there", "there"] and Message.objects.count() == 1


@pytest.mark.parametrize("status", list(MessageStatus))
def test_every_initial_status(tracker: DeliveryTracker, status: MessageStatus) -> None:
    tracker.track_message("m-1", PHONE, initial_status=status)
    record = tracker.get_tracking_record("m-1")
    assert record.current_status is status and record.status_history[-1].status is status
    assert tracker.get_stats().by_status == {each: int(each is status) for each in MessageStatus}
    assert list(check.differences()) == []


@pytest.mark.parametrize(
    ("pointer", "wrong"),
    [
        ("/message_id", {"message_id": ""}),
        ("/message_id", {"message_id": "x" * 201}),
        ("/message_id", {"message_id": "a\x00b"}),
        ("/phone_number", {"phone_number": "not a number"}),
        ("/phone_number", {"phone_number": None}),
        ("/template_id", {"template_id": "x" * 201}),
        ("/provider", {"provider": "nobody"}),
        ("/initial_status", {"initial_status": "LOST"}),
        ("/metadata", {"metadata": {"order": object()}}),
        ("/webhooks/0/url", {"webhooks": [{"url": "http://127.0.0.1/in", "events": ["message.sent"]}]}),
        ("/webhooks/0/url", {"webhooks": [{"url": "file:///etc/passwd", "events": ["message.sent"]}]}),
        ("/webhooks/0/events", {"webhooks": [{"url": "https://example.com", "events": ["message.lost"]}]}),
        ("/webhooks/0/events", {"webhooks": [{"url": "https://example.com"}]}),
        (
            "/webhooks/0/timeout",
            {"webhooks": [{"url": "https://example.com", "events": ["message.sent"], "timeout": 0}]},
        ),
        ("/webhooks/0/retries", {"webhooks": [DeliveryWebhook("https://example.com", ["message.sent"], retries=11)]}),
        ("/webhooks/0", {"webhooks": ["https://example.com"]}),
        ("/webhooks", {"webhooks": "https://example.com"}),
        ("/metadata", {"metadata": "spring"}),
    ],
)
def test_bad_input_names_its_field_and_stores_nothing(tracker: DeliveryTracker, pointer: str, wrong: Any) -> None:
    given = {"message_id": "m-1", "phone_number": PHONE, **wrong}
    with pytest.raises(Invalid) as invalid:
        tracker.track_message(**given)
    assert field_of(invalid).startswith(pointer)
    assert not Message.objects.exists() and not Endpoint.objects.exists()


@pytest.mark.parametrize(
    ("pointer", "given"),
    [
        ("/project", {"project": "nowhere"}),
        ("/channel", {"channel": "fax"}),
        ("/account", {"account": "nobody"}),
        ("/webhook_retries", {"webhook_retries": -1}),
        ("/tracking_interval", {"tracking_interval": 1}),
        ("/persistence/enabled", {"persistence": {"enabled": False}}),
        ("/colour", {"colour": "red"}),
    ],
)
def test_a_wrong_tracker_is_not_made(project: Project, pointer: str, given: Any) -> None:
    with pytest.raises(Invalid) as invalid:
        DeliveryTracker(**{"project": project.code, "channel": "sms", **given})
    assert field_of(invalid) == pointer


def test_wrong_details_are_named(tracker: DeliveryTracker) -> None:
    tracker.track_message("m-1", PHONE)
    for pointer, status, details in (
        ("/status", "LOST", {}),
        ("/sent_at", "SENT", {"sent_at": datetime(2026, 1, 1)}),
        ("/error/message", "FAILED", {"error": {"code": "E1"}}),
        ("/source", "SENT", {"source": "rumour"}),
        ("/error", "FAILED", {"error": "no such user"}),
    ):
        with pytest.raises(Invalid) as invalid:
            tracker.update_status("m-1", status, **details)
        assert field_of(invalid) == pointer
    assert tracker.get_delivery_report("m-1").status == "QUEUED"


@pytest.mark.parametrize("wrong", ["", "a\x00b", "x" * 201, 7, None])
def test_an_id_that_can_be_none_is_named(tracker: DeliveryTracker, wrong: Any) -> None:
    for call in (
        lambda: tracker.update_status(wrong, "SENT"),
        lambda: tracker.get_tracking_record(wrong),
        lambda: tracker.get_delivery_report(wrong),
        lambda: tracker.stop_tracking(wrong),
    ):
        with pytest.raises(Invalid) as invalid:
            call()
        assert field_of(invalid) == "/message_id"


# --- move on

ORDER = ("QUEUED", "SENDING", "SENT", "DELIVERED", "CLICKED")
ALLOWED = {
    "QUEUED": {"SENDING", "SENT", "DELIVERED", "CLICKED", "FAILED", "CANCELLED"},
    "SENDING": {"SENT", "DELIVERED", "CLICKED", "FAILED", "CANCELLED"},
    "SENT": {"DELIVERED", "CLICKED", "FAILED", "CANCELLED"},
    "DELIVERED": {"CLICKED"},
    "CLICKED": set(),
    "FAILED": set(),
    "CANCELLED": set(),
}


@pytest.mark.parametrize("before", list(MessageStatus))
def test_every_move(tracker: DeliveryTracker, before: MessageStatus) -> None:
    for after in MessageStatus:
        tracker.track_message(f"to {after}", PHONE, initial_status=before)
        events = Event.objects.count()
        assert tracker.update_status(f"to {after}", after) is (after in ALLOWED[before]), after
        reached = after if after in ALLOWED[before] else before
        assert tracker.get_delivery_report(f"to {after}").status == reached
        assert (Event.objects.count() > events) is (after in ALLOWED[before] and after != "SENDING")
    assert list(check.differences()) == []


def test_a_report_has_the_callers_times_and_error(tracker: DeliveryTracker) -> None:
    start = datetime.now(UTC) - timedelta(minutes=3)
    times = [start + timedelta(seconds=seconds) for seconds in (0, 2, 5)]
    tracker.track_message("m-1", PHONE, metadata={"a": 1, "b": 1})
    assert tracker.update_status("m-1", "SENT", sent_at=times[0], metadata={"b": 2}, source="provider", provider="x")
    assert tracker.update_status("m-1", "DELIVERED", delivered_at=times[1], source="webhook")
    assert tracker.update_status("m-1", "CLICKED", clicked_at=times[2], source="manual")
    record = tracker.get_tracking_record("m-1")
    report = record.delivery_report
    assert [report.sent_at, report.delivered_at, report.clicked_at] == times
    assert report.metadata == record.metadata == {"a": 1, "b": 2}
    moved = [
        (entry.status, entry.source, entry.provider) for entry in record.status_history if entry.status in ORDER[2:]
    ]
    assert moved == [("SENT", "provider", "x"), ("DELIVERED", "webhook", "carrier"), ("CLICKED", "manual", "carrier")]
    tracker.track_message("m-2", PHONE)
    error = {"code": "3104", "message": "no such user", "details": {"raw": "E"}}
    assert tracker.update_status("m-2", "FAILED", failed_at=times[1], error=error)
    failed = tracker.get_delivery_report("m-2")
    assert (failed.error.code, failed.error.message, failed.error.details) == ("3104", "no such user", {"raw": "E"})
    assert failed.failed_at == times[1] and failed.attempts[0].error == failed.error
    stats = tracker.get_stats()
    assert stats.average_delivery_time == pytest.approx(2000)


def test_what_is_unknown_is_false_or_nothing(tracker: DeliveryTracker) -> None:
    assert tracker.update_status("nobody", "SENT") is False
    assert tracker.stop_tracking("nobody") is False
    assert tracker.get_tracking_record("nobody") is None and tracker.get_delivery_report("nobody") is None
    assert tracker.get_delivery_report(str(ids.new())) is None


def test_receipts_of_the_provider_fold_after_a_report(tracker: DeliveryTracker, project: Project) -> None:
    """By the provider's id; repeated ones count once; a late delivery takes a failure back, which no report may."""
    tracker.track_message("m-1", PHONE, initial_status="SENT", provider_message_id="ref-1")
    account = project.accounts.get()
    tracker.update_status("m-1", "FAILED", error={"code": "1", "message": "it seemed so"})
    for _ in range(2):
        receipt = Receipt(ReceiptKind.DELIVERED, reference="ref-1", event_id="e-1", occurred_at=datetime.now(UTC))
        with transaction.atomic():
            receipts.apply([receipts.Item(ids.new(), 0, account.pk, datetime.now(UTC), receipt)])
    record = tracker.get_tracking_record("m-1")
    assert record.current_status == "DELIVERED"
    assert [entry.status for entry in record.status_history] == ["SENT", "FAILED", "DELIVERED"]
    assert record.status_history[-1].source == "provider"
    assert Event.objects.filter(kind="delivered").count() == 1


def test_messages_of_the_api_are_found_and_cancelled(tracker: DeliveryTracker, project: Project) -> None:
    """By their external id or ours; what waits for Postroom to send it takes no report."""
    key = make_message(project, channel="sms", recipient=PHONE, external_id="order-1")
    assert tracker.get_delivery_report("order-1").status == tracker.get_delivery_report(str(key)).status == "QUEUED"
    assert tracker.update_status("order-1", "SENT") is False
    assert tracker.update_status("order-1", "CANCELLED") is True
    assert tracker.get_delivery_report("order-1").status == "CANCELLED"
    assert list(check.differences()) == []
    with pytest.raises(AlreadyTracked):
        tracker.track_message("order-1", PHONE)


# --- numbers


def test_a_click_never_lowers_the_delivery_rate(tracker: DeliveryTracker) -> None:
    for name in ("a", "b"):
        tracker.track_message(name, PHONE)
        tracker.update_status(name, "DELIVERED")
    assert tracker.get_stats().delivery_rate == 100
    assert tracker.update_status("a", "CLICKED")
    stats = tracker.get_stats()
    assert stats.delivery_rate == 100 and stats.by_status["CLICKED"] == stats.by_status["DELIVERED"] == 1


def test_stats_add_up(tracker: DeliveryTracker, project: Project) -> None:
    make_account(project, code="other", channel="sms")
    route.forget()
    for number, status in enumerate(MessageStatus):
        for copy in range(number + 1):
            provider = "other" if copy else "carrier"
            tracker.track_message(f"{status}{copy}", PHONE, "", provider, initial_status=status)
    make_account(project, channel="email")
    route.forget()
    make_message(project)  # another channel
    stats = tracker.get_stats()
    assert stats.by_status == {status: number + 1 for number, status in enumerate(MessageStatus)}
    assert stats.total_messages == sum(stats.by_status.values()) == 28
    assert stats.by_provider == {"carrier": 7, "other": 21}
    sent = 28 - stats.by_status["QUEUED"] - stats.by_status["CANCELLED"]
    assert stats.delivery_rate == 100 * (4 + 6) / sent and stats.failure_rate == 100 * 5 / sent
    now = datetime.now(UTC)
    assert tracker.get_stats_for_period(now - timedelta(hours=1), now + timedelta(hours=1)).by_status == stats.by_status
    assert tracker.get_stats_for_period(now - timedelta(hours=3), now - timedelta(hours=2)).total_messages == 0
    with pytest.raises(Invalid, match="end_date"):
        tracker.get_stats_for_period(now, now - timedelta(hours=1))


def test_what_was_cancelled_from_the_beginning_was_never_sent(tracker: DeliveryTracker) -> None:
    tracker.track_message("a", PHONE, initial_status="CANCELLED")
    tracker.track_message("b", PHONE, initial_status="DELIVERED")
    stats = tracker.get_stats()
    assert (stats.total_messages, stats.delivery_rate, stats.failure_rate) == (2, 100, 0)
    report = tracker.get_delivery_report("a")
    assert report and report.status == "CANCELLED" and not report.attempts
    tracker.track_message("c", PHONE, initial_status="CANCELLED", provider_message_id="ref-c")  # handed over before
    assert tracker.get_stats().delivery_rate == 50


def test_nothing_to_divide_by_is_zero(tracker: DeliveryTracker) -> None:
    stats = tracker.get_stats()
    assert (stats.total_messages, stats.delivery_rate, stats.failure_rate, stats.average_delivery_time) == (0, 0, 0, 0)


def test_messages_by_status(tracker: DeliveryTracker) -> None:
    for number in range(5):
        tracker.track_message(f"m-{number}", PHONE, initial_status="SENT" if number % 2 else "QUEUED")
    assert [record.message_id for record in tracker.get_messages_by_status("QUEUED")] == ["m-4", "m-2", "m-0"]
    first = tracker.get_messages_by_status("QUEUED", limit=2)
    rest = tracker.get_messages_by_status("QUEUED", limit=2, before=first.more)
    assert [r.message_id for r in (*first, *rest)] == ["m-4", "m-2", "m-0"] and rest.more is None
    tracker.stop_tracking("m-2")
    assert [record.message_id for record in tracker.get_messages_by_status("QUEUED")] == ["m-4", "m-0"]
    assert tracker.get_messages_by_status("FAILED") == []
    for wrong in ({"limit": 0}, {"before": "x"}):
        with pytest.raises(Invalid):
            tracker.get_messages_by_status("QUEUED", **wrong)


def test_the_cost_does_not_grow(tracker: DeliveryTracker) -> None:
    """The same statements for the thousandth message as for the second."""

    def cost() -> list[int]:
        counts = []
        name = f"m-{Message.objects.count()}"
        for call in (
            lambda: tracker.track_message(name, PHONE),
            lambda: tracker.update_status(name, "SENT"),
            lambda: tracker.update_status(name, "DELIVERED"),
            lambda: tracker.get_delivery_report(name),
            tracker.get_stats,
        ):
            with CaptureQueriesContext(connection) as queries:
                call()
            counts.append(len(queries))
        return counts

    cost()
    early = cost()
    for number in range(300):
        tracker.track_message(f"x-{number}", PHONE)
    assert cost() == early
    assert early == [5, 9, 9, 8, 2]


# --- end


def test_stopped_tracking_is_silent_and_keeps_the_numbers(tracker: DeliveryTracker) -> None:
    tracker.track_message("m-1", PHONE, initial_status="SENT")
    found = heard(tracker, "tracking:stopped", "status:updated")
    assert tracker.stop_tracking("m-1") is True and tracker.stop_tracking("m-1") is False
    ((name, event),) = found
    assert name == "tracking:stopped" and event.type == "message.cancelled" and event.data.message_id == "m-1"
    assert tracker.get_tracking_record("m-1") is None and tracker.update_status("m-1", "DELIVERED") is False
    assert tracker.get_stats().total_messages == 1
    with pytest.raises(AlreadyTracked):
        tracker.track_message("m-1", PHONE)


def test_cleanup_ends_what_nobody_reported_on_and_loses_no_rate(tracker: DeliveryTracker) -> None:
    for status in ("QUEUED", "SENDING", "SENT", "DELIVERED", "FAILED"):
        tracker.track_message(status, PHONE, initial_status=status)
    before = tracker.get_stats()
    found = heard(tracker, "cleanup:completed")
    assert tracker.cleanup() == 0 and found == []
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=25), tick=True):
        assert tracker.cleanup() == 5
        assert tracker.cleanup() == 0
    assert found == [("cleanup:completed", {"removed_count": 5})]
    after = tracker.get_stats()
    assert (after.delivery_rate, after.total_messages) == (before.delivery_rate, 5)
    assert after.by_status | {"QUEUED": 0, "SENDING": 0} == {
        **{"QUEUED": 0, "SENDING": 0, "SENT": 2, "DELIVERED": 1, "FAILED": 2, "CLICKED": 0, "CANCELLED": 0}
    }
    assert tracker.get_delivery_report("QUEUED").error.code == "expired"
    assert Message.objects.filter(status="unknown").count() == 1  # SENDING: nobody knows
    assert not TrackedMessage.objects.exists() and list(check.differences()) == []


def test_the_prune_job_cleans_up_where_nobody_has_a_tracker(tracker: DeliveryTracker) -> None:
    tracker.track_message("m-1", PHONE)
    tasks.prune()
    assert tracker.get_delivery_report("m-1").status == "QUEUED"
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=25), tick=True):
        tasks.prune()
    assert tracker.get_delivery_report("m-1").status == "FAILED"


# --- events


def test_events_come_after_the_commit(tracker: DeliveryTracker) -> None:
    found = heard(tracker, "tracking:started", "status:updated", "tracking:completed")
    with transaction.atomic():
        tracker.track_message("m-1", PHONE, metadata={"order": 7})
        assert found == []
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tracker.update_status("m-1", "SENT")
        raise ZeroDivisionError
    tracker.update_status("m-1", "SENDING")
    tracker.update_status("m-1", "DELIVERED")
    tracker.update_status("m-1", "SENT")
    names = [(name, event.type) for name, event in found]
    assert names == [
        ("tracking:started", "message.queued"),
        ("status:updated", "message.sending"),
        ("status:updated", "message.delivered"),
        ("tracking:completed", "message.delivered"),
    ]
    data = found[2][1].data
    assert (data["message_id"], data["previous_status"], data["current_status"]) == ("m-1", "SENDING", "DELIVERED")
    assert data["delivery_report"].status == "DELIVERED" and found[2][1].metadata == {"order": 7}
    assert found[3][1].data["tracking_completed"] is True
    assert len({event.id for _, event in found}) == len(found)


def test_what_postroom_does_itself_is_heard_too(tracker: DeliveryTracker, project: Project) -> None:
    found = heard(tracker, "tracking:started", "tracking:completed")
    key = make_message(project, channel="sms", recipient=PHONE)
    act.cancel(key, source=Source("api"))
    make_account(project, channel="email")
    route.forget()
    make_message(project)
    assert [(name, event.type) for name, event in found] == [
        ("tracking:started", "message.queued"),
        ("tracking:completed", "message.cancelled"),
    ]


def test_a_listener_that_fails_stops_nobody(tracker: DeliveryTracker, caplog: Any) -> None:
    def bad(event: Any) -> None:
        raise ValueError("a bad listener")

    tracker.on("status:updated", bad)
    found = heard(tracker, "status:updated")
    tracker.track_message("m-1", PHONE)
    assert tracker.update_status("m-1", "SENT") and len(found) == 1


def test_receivers_of_djangos_signals_hear_it_too(tracker: DeliveryTracker) -> None:
    found: list[Any] = []

    def receiver(sender: Any, args: tuple[Any, ...], **_: Any) -> None:
        found.append((sender, args[0].type))

    tracker.signal("status:updated").connect(receiver)
    tracker.track_message("m-1", PHONE)
    tracker.update_status("m-1", "SENT")
    assert found == [(DeliveryTracker, "message.sent")]
    tracker.signal("status:updated").disconnect(receiver)
    tracker.update_status("m-1", "DELIVERED")
    assert len(found) == 1


def test_nobody_listens_nothing_is_read(tracker: DeliveryTracker) -> None:
    tracker.track_message("m-0", PHONE)
    with CaptureQueriesContext(connection) as queries:
        tracker.update_status("m-0", "SENT")
    assert not any("DISTINCT ON" in query["sql"] for query in queries)


OTHER = """
import django; django.setup()
from tracking.tracker import DeliveryTracker
tracker = DeliveryTracker("{project}", "sms", "carrier")
for number in range({count}):
    tracker.track_message(f"o-{{number}}", "+821012345678")
    tracker.update_status(f"o-{{number}}", "SENT")
    tracker.update_status(f"o-{{number}}", "DELIVERED")
tracker.stop_tracking("o-0")
"""


RECEIPTS = """
import django; django.setup()
from datetime import UTC, datetime
from django.db import transaction
from providers.base import Receipt, ReceiptKind
from tracking import ids
from tracking.services import receipts
now = datetime.now(UTC)
for kind in (ReceiptKind.ACCEPTED, ReceiptKind.DELIVERED, ReceiptKind.READ):
    for start in range(0, {count}, 100):
        names = [str(number) for number in range(start, start + 100)]
        told = [Receipt(kind, now, reference=f"ref-{{name}}", event_id=kind + name) for name in names]
        items = [receipts.Item(ids.new(), 0, {account}, now, receipt) for receipt in told]
        with transaction.atomic():
            receipts.apply(items)
"""


def run_elsewhere(code: str) -> None:
    """In a process of its own, to its end."""
    ours = {"DJANGO_SETTINGS_MODULE": "config.settings", "DATABASE_URL": database.url()}
    command, environment = [sys.executable, "-c", code], {**os.environ, **ours}
    subprocess.run(command, env=environment, cwd=django_settings.BASE_DIR, check=True, timeout=120)


@pytest.mark.processes
def test_every_receipt_that_another_process_applies_is_heard(tracker: DeliveryTracker, project: Project) -> None:
    count = 300
    for number in range(count):
        tracker.track_message(f"m-{number}", PHONE, initial_status="SENDING", provider_message_id=f"ref-{number}")
    moves: list[tuple[str, str, str]] = []
    done = threading.Event()

    def updated(event: Any) -> None:
        moves.append((event.data["message_id"], event.data["previous_status"], event.data["current_status"]))
        if len(moves) == 3 * count:
            done.set()

    tracker.on("status:updated", updated)
    tracker.start()
    try:
        run_elsewhere(RECEIPTS.format(count=count, account=project.accounts.get().pk))
        assert done.wait(60), f"{len(moves)} of {3 * count} were heard"
    finally:
        tracker.stop()
    steps = (("SENDING", "SENT"), ("SENT", "DELIVERED"), ("DELIVERED", "CLICKED"))
    assert sorted(moves) == sorted((f"m-{number}", *step) for number in range(count) for step in steps)


@pytest.mark.processes
def test_a_started_tracker_hears_other_processes(tracker: DeliveryTracker, project: Project) -> None:
    names = ("tracker:started", "tracking:started", "status:updated", "tracking:completed", "tracking:stopped")
    found = heard(tracker, *names, "tracker:stopped")
    done = threading.Event()
    tracker.on("tracking:stopped", lambda event: done.set())
    tracker.start()
    try:
        assert TrackerListener.objects.count() == 1
        run_elsewhere(OTHER.format(project=project.code, count=50))
        assert done.wait(20)
        tracker.track_message("ours", PHONE)  # heard once, and not by way of the database
    finally:
        tracker.stop()
    counted = {name: sum(each == name for each, _ in found) for name in (*names, "tracker:stopped")}
    assert counted == {
        "tracker:started": 1,
        "tracking:started": 51,
        "status:updated": 100,
        "tracking:completed": 50,
        "tracking:stopped": 1,
        "tracker:stopped": 1,
    }
    assert not TrackerListener.objects.exists()


def test_nothing_is_sent_where_nobody_listens(tracker: DeliveryTracker, monkeypatch: Any) -> None:
    said: list[str] = []
    monkeypatch.setattr(wake, "tell", lambda channel, line: said.append(line))
    tracker.track_message("m-1", PHONE)
    assert said == []
    other = TrackerListener.objects.create(
        id=ids.new(), project=tracker.project, until=datetime.now(UTC) + timedelta(minutes=1)
    )
    news.forget()
    tracker.update_status("m-1", "SENT")
    assert len(said) == 1 and len(said[0]) < 120
    TrackerListener.objects.filter(pk=other.pk).update(until=datetime.now(UTC) - timedelta(seconds=1))
    news.forget()
    tracker.update_status("m-1", "DELIVERED")
    assert len(said) == 1


def test_lines_are_packed_into_payloads() -> None:
    lines = [f"{number:060}" for number in range(1_000)]
    packed = list(wake.payloads(lines))
    assert "\n".join(packed).split("\n") == lines and len(packed) == 8
    assert all(len(payload) <= wake.MAX_PAYLOAD for payload in packed) and list(wake.payloads([])) == []


# --- webhooks of one message


@pytest.fixture
def loopback(settings: Any) -> None:
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)


def receiver(httpserver: HTTPServer, *statuses: int, path: str = "/in") -> list[Request]:
    seen: list[Request] = []

    def answer(request: Request) -> Response:
        seen.append(request)
        return Response("noted", statuses[min(len(seen), len(statuses)) - 1])

    httpserver.expect_request(path).respond_with_handler(answer)
    return seen


def publish_all() -> None:
    """What the publish loop does, until nothing is due."""
    for each in publish.waiting():
        while letters := publish.claim(each.endpoint_id, 10):
            publish.finish([publish.tell(letter) for letter in letters])


ALL = ["message.queued", "message.sent", "message.delivered", "message.failed", "message.clicked", "message.cancelled"]


def test_a_messages_own_webhook(tracker: DeliveryTracker, httpserver: HTTPServer, loopback: None) -> None:
    seen = receiver(httpserver, 200)
    secret = signing_out.new_secret()
    hook = DeliveryWebhook(httpserver.url_for("/in"), ALL, secret=secret, headers={"X-Team": "blue"})
    results = heard(tracker, "webhook:delivered", "webhook:failed")
    tracker.track_message("m-1", PHONE, "welcome", webhooks=[hook], metadata={"order": 7})
    tracker.track_message("m-2", PHONE)  # has none
    tracker.update_status("m-1", "SENDING")
    tracker.update_status("m-1", "DELIVERED", metadata={"order": 8})
    tracker.update_status("m-2", "DELIVERED")
    publish_all()
    bodies = [json.loads(request.get_data()) for request in seen]
    assert sorted(body["type"] for body in bodies) == ["message.delivered", "message.queued", "message.sent"]
    assert len({body["id"] for body in bodies}) == 3
    queued, delivered = (next(b for b in bodies if b["type"] == f"message.{each}") for each in ("queued", "delivered"))
    assert queued["data"]["messageId"] == "m-1" and queued["data"]["status"] == "QUEUED"
    data = delivered["data"]
    assert (data["messageId"], data["previousStatus"], data["currentStatus"]) == ("m-1", "SENT", "DELIVERED")
    assert data["deliveryReport"]["phoneNumber"] == PHONE and delivered["metadata"] == {"order": 8}
    assert {"attemptNumber", "attemptedAt", "status", "provider"} <= set(data["deliveryReport"]["attempts"][0])
    for request in seen:
        assert request.headers["X-Team"] == "blue"
        Webhook(secret).verify(request.get_data(), dict(request.headers))  # raises
        assert secret not in str(request.headers)
    assert [name for name, _ in results] == ["webhook:delivered"] * 3
    assert results[0][1]["result"]["status_code"] == 200 and results[0][1]["webhook"].url == hook.url
    assert results[0][1]["webhook"].secret is None and not any(
        PHONE in str(row.payload) for row in Delivery.objects.all()
    )
    assert tracker.get_tracking_record("m-1").webhooks[0].events == ALL


def test_the_retries_are_the_webhooks_own(tracker: DeliveryTracker, httpserver: HTTPServer, loopback: None) -> None:
    seen = receiver(httpserver, 503)
    results = heard(tracker, "webhook:delivered", "webhook:failed")
    hook = {"url": httpserver.url_for("/in"), "events": ["message.sent"], "retries": 3}
    tracker.track_message("m-1", PHONE, webhooks=[hook])
    start = datetime.now(UTC)
    tracker.update_status("m-1", "SENT")
    gaps = []
    with time_machine.travel(start, tick=False) as clock:
        clock.shift(1)
        for _ in range(6):
            publish_all()
            row = Delivery.objects.get()
            if row.state == "failed":
                break
            gaps.append((row.next_try_at - datetime.now(UTC)).total_seconds())
            clock.move_to(row.next_try_at)
    assert len(seen) == 4 and [round(gap / 1.2) <= at <= gap for gap, at in zip(gaps, (1, 2, 4), strict=True)]
    assert [name for name, _ in results] == ["webhook:failed"] and results[0][1]["attempts"] == 4
    assert "X-Signature" not in seen[0].headers  # it has no secret


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_refusal_is_not_repeated(
    tracker: DeliveryTracker, httpserver: HTTPServer, loopback: None, status: int
) -> None:
    seen = receiver(httpserver, status)
    hook = {"url": httpserver.url_for("/in"), "events": ["message.sent"]}
    for name in ("m-1", "m-2"):
        tracker.track_message(name, PHONE, webhooks=[hook])
        tracker.update_status(name, "SENT")
        publish_all()
    assert len(seen) == 2  # one each: nor is the address switched off for the next message
    assert set(Delivery.objects.values_list("state", flat=True)) == {"failed"}


def test_messages_share_the_endpoint_that_they_name(tracker: DeliveryTracker, project: Project) -> None:
    hook = DeliveryWebhook("https://hooks.example.com/in", ["message.failed"], secret="one")
    for number in range(3):
        tracker.track_message(f"m-{number}", PHONE, webhooks=[hook])
    message_webhooks.forget()
    tracker.track_message("m-3", PHONE, webhooks=[hook, DeliveryWebhook(hook.url, hook.events, secret="two")])
    assert Endpoint.objects.count() == 2
    with CaptureQueriesContext(connection) as queries:
        tracker.track_message("m-4", PHONE, webhooks=[hook])
    assert not any("webhook_endpoint" in query["sql"] and "INSERT" in query["sql"] for query in queries)
    assert endpoints.of_project(project.pk) == []
    endpoint = make_endpoint(project)
    assert endpoints.of_project(project.pk) == [endpoint]
    told_at = ["notification.failed", "notification.bounced"]
    assert all(each.events == told_at for each in Endpoint.objects.exclude(digest=""))


def test_webhooks_that_are_switched_off_or_stopped(tracker: DeliveryTracker, project: Project) -> None:
    hook = DeliveryWebhook("https://hooks.example.com/in", ALL)
    silent = DeliveryTracker(project, "sms", enable_webhooks=False)
    silent.track_message("m-1", PHONE, webhooks=[hook])
    silent.update_status("m-1", "SENT")
    assert not Delivery.objects.exists()
    tracker.track_message("m-2", PHONE, webhooks=[hook, hook])  # named twice, told once
    assert list(Delivery.objects.values_list("event", flat=True)) == ["message.queued"]
    tracker.stop_tracking("m-2")
    with transaction.atomic():
        work = Record(list(Message.objects.filter(external_id="m-2").values_list("pk", flat=True)))
        (row,) = work.messages.values()
        attempt = work.start_attempt(row, account_id=row.account_id, idempotency_key="")
        work.add_fact(row, attempt, Fact(FactKind.DELIVERED, work.now), key="d", source=Source("provider"))
        work.save()
    assert Delivery.objects.count() == 1


def test_an_unused_endpoint_goes(tracker: DeliveryTracker) -> None:
    tracker.track_message("m-1", PHONE, webhooks=[DeliveryWebhook("https://hooks.example.com/in", ALL, secret="s")])
    for days, there in ((2, True), (40, False)):
        with time_machine.travel(datetime.now(UTC) + timedelta(days=days), tick=True):
            tracker.cleanup()
        endpoint = Endpoint.objects.get()
        assert (endpoint.deleted_at is None) is there and bool(endpoint.sealed) is there


def test_what_others_want_to_know_is_not_mixed_up(tracker: DeliveryTracker, project: Project) -> None:
    """The project's endpoint is told in its own form, of tracked messages too."""
    make_endpoint(project)
    tracker.track_message("m-1", PHONE)
    tracker.update_status("m-1", "DELIVERED")
    rows = Delivery.objects.order_by("pk")
    assert [row.event for row in rows] == ["notification.sent", "notification.delivered"]
    assert "previous" not in rows[0].payload and rows[0].payload["data"]["external_id"] == "m-1"


def test_the_publisher_finds_what_is_due(project: Project) -> None:
    """Among endpoints that have nothing."""
    made = [make_endpoint(project) for _ in range(5)]
    for endpoint in (made[1], made[3]):
        Delivery.objects.create(endpoint=endpoint, event="x", payload={}, next_try_at=datetime.now(UTC))
    assert sorted(each.endpoint_id for each in publish.waiting()) == [made[1].pk, made[3].pk]


def test_submit_costs_what_it_did(project: Project) -> None:
    """A change that nobody listens to costs no statement."""
    document = {"channel": "sms", "recipient": PHONE, "content": {"text": "Hello"}}
    submit.submit(sender_of(project), document)
    with CaptureQueriesContext(connection) as queries:
        submit.submit(sender_of(project), document)
    assert len(queries) == 1
