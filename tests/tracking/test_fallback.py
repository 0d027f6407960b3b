"""Fallback against real PostgreSQL and real sender threads: when a leg is taken, and that it is taken once."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from providers import registry
from providers.base import (
    BounceClass,
    Channel,
    Classification,
    FailureClass,
    Outbound,
    Provider,
    ProviderError,
    Receipt,
    ReceiptKind,
    SendResult,
)
from providers.models import ProviderAccount
from tests.builders import make_account, make_message, make_project, sender_of
from tests.tracking.lives import status_of
from tracking import accounts
from tracking.engagement import projects
from tracking.loops import Dispatcher
from tracking.models import (
    Attempt,
    ConsentState,
    EngagementSettings,
    Event,
    Leg,
    Message,
    Project,
    QueueRow,
    Suppression,
    Switch,
)
from tracking.schema import Invalid
from tracking.services import (
    act,
    check,
    consents,
    dispatch,
    legs,
    lookup,
    reap,
    receipts,
    route,
    submit,
    suppress,
)
from tracking.services.consents import Asked, By
from tracking.services.record import Record, Source, refold

pytestmark = pytest.mark.django_db(transaction=True)
SMS = {"channel": "sms", "recipient": "+491511234567", "content": {"text": "by SMS"}}
MAIL = {"channel": "email", "recipient": "ada@example.org", "subject": "Hello", "content": {"text": "by e-mail"}}


class ByChannel(Provider):
    """A real adapter in this process; what it answers on a channel, the test says beforehand."""

    kind = "by-channel"
    channels = frozenset(Channel)
    timeout = 5.0
    fails: dict[str, FailureClass] = {}
    sent: list[Outbound] = []
    during: Callable[[Outbound], None] = staticmethod(lambda outbound: None)

    def send(self, outbound: Outbound) -> SendResult:
        self.sent.append(outbound)
        type(self).during(outbound)
        if failure := self.fails.get(outbound.channel):
            raise ProviderError("no", classification=Classification(failure), code="X1")
        return SendResult(f"ref-{outbound.echo}")


@pytest.fixture(autouse=True)
def adapter(monkeypatch: pytest.MonkeyPatch) -> type[ByChannel]:
    for name, value in (("sent", []), ("fails", {}), ("during", staticmethod(lambda outbound: None))):
        monkeypatch.setattr(ByChannel, name, value)
    monkeypatch.setitem(registry.ADAPTERS, "by-channel", f"{__name__}.ByChannel")
    accounts.forget()
    return ByChannel


@pytest.fixture
def project() -> Project:
    project = make_project()
    for channel in ("chat", "sms", "email"):
        make_account(project, kind="by-channel", channel=channel, settings={}, code=f"by-{channel}")
    return project


def hand_in(project: Project, *fallback: dict[str, Any], **kw: Any) -> UUID:
    chat = {"channel": "chat", "recipient": "ada", "content": {"text": "by chat"}}
    return make_message(project, **{**chat, "fallback": list(fallback) or [{**SMS, "ttl": 60}, MAIL], **kw})


def run(steps: int = 300) -> None:
    """Drive a dispatcher until nothing is queued."""
    dispatcher = Dispatcher()
    for _ in range(steps):
        dispatcher.step()
        if not dispatcher.in_flight and not QueueRow.objects.exists():
            break
        threading.Event().wait(0.01)
    dispatcher.drain(5)


def tell(key: UUID, number: int, kind: ReceiptKind = ReceiptKind.DELIVERED, **kw: Any) -> None:
    """A receipt for an attempt."""
    account = Attempt.objects.get(message_id=key, number=number).account_id
    receipt = Receipt(kind, None, echo=f"{key}.{number}", event_id=uuid4().hex, **kw)
    with transaction.atomic():
        receipts.apply([receipts.Item(uuid4(), 0, account, datetime.now(UTC), receipt)])


def pass_time(key: UUID) -> int:
    """The ttl of whichever leg waits passes, and the loop looks."""
    Leg.objects.filter(message_id=key, due_at__isnull=False).update(due_at=datetime.now(UTC) - timedelta(seconds=1))
    return legs.take_overdue()


def channels() -> list[str]:
    return [str(outbound.channel) for outbound in ByChannel.sent]


def leg_of(key: UUID) -> int:
    return Message.objects.get(pk=key).leg


def decisions(key: UUID) -> list[tuple[str, str]]:
    found = Event.objects.filter(message_id=key, number__isnull=False).order_by("number")
    return list(found.values_list("kind", "text"))


@pytest.fixture(autouse=True)
def consistent() -> Any:
    yield
    assert [str(difference) for difference in check.differences()] == []


# --- when a leg is taken


def test_a_delivery_by_the_first_leg_leaves_the_others_unused(project: Project) -> None:
    key = hand_in(project)
    run()
    tell(key, 1)
    assert (status_of(key), channels(), leg_of(key)) == ("delivered", ["chat"], 0)
    assert pass_time(key) == 0
    run()
    assert (status_of(key), channels()) == ("delivered", ["chat"])


def test_a_refusal_takes_the_next_leg_with_its_own_recipient_and_content(
    project: Project, adapter: type[ByChannel]
) -> None:
    adapter.fails = {"chat": FailureClass.INVALID_RECIPIENT}
    key = hand_in(project, metadata={"order": 7}, category="otp")
    run()
    chat, sms = ByChannel.sent
    assert (chat.recipient, chat.text) == ("ada", "by chat")
    assert (sms.recipient, sms.text, sms.metadata, sms.category) == ("+491511234567", "by SMS", {"order": 7}, "otp")
    assert chat.idempotency_key != sms.idempotency_key
    assert status_of(key) == "sent"
    assert decisions(key)[-1] == ("next_leg", "leg 1 (sms, by-sms): the leg before failed: invalid_recipient")
    assert list(Attempt.objects.order_by("number").values_list("leg", "account__code")) == [
        (0, "by-chat"),
        (1, "by-sms"),
    ]


def test_retries_within_a_leg_have_the_budget_of_the_leg(project: Project, adapter: type[ByChannel]) -> None:
    adapter.fails = {"chat": FailureClass.TEMPORARY, "sms": FailureClass.TEMPORARY}
    key = hand_in(project, retry={"max_attempts": 2, "initial_delay": 0})
    run()
    assert channels() == ["chat", "chat", "sms", "sms", "email"]
    kinds = [kind for kind, _ in decisions(key)]
    leg = ["retry_scheduled", "gave_up", "next_leg"]
    assert kinds == ["queued", *leg, *leg]


def test_a_bounce_told_by_a_receipt_takes_the_next_leg(project: Project) -> None:
    key = hand_in(project)
    run()
    tell(key, 1, ReceiptKind.BOUNCED, suppress=True)
    assert (status_of(key), leg_of(key)) == ("pending", 1)
    run()
    tell(key, 2, ReceiptKind.FAILED, failure=FailureClass.PERMANENT, suppress=True)
    run()
    assert channels() == ["chat", "sms", "email"]
    listed = set(Suppression.objects.values_list("channel", "address"))
    assert listed == {("chat", "ada"), ("sms", "+491511234567")}  # each leg's own recipient


def test_a_ttl_that_passes_takes_the_next_leg(project: Project) -> None:
    key = hand_in(project)
    run()
    assert legs.take_overdue() == 0  # 60 seconds have not passed
    assert pass_time(key) == 1
    assert pass_time(key) == 0
    assert (status_of(key), leg_of(key)) == ("pending", 1)
    assert decisions(key)[-1][1] == "leg 1 (sms, by-sms): the leg before had not delivered within 60 s"
    run()
    assert channels() == ["chat", "sms"]
    assert not Leg.objects.filter(due_at__isnull=False).exists()  # the e-mail has no ttl: only a failure takes it


def test_the_ttl_of_each_leg_runs_from_when_the_one_before_was_taken(project: Project) -> None:
    key = hand_in(project, {**SMS, "ttl": 60}, {**MAIL, "ttl": 300})
    first, second = Leg.objects.filter(message_id=key, number__gt=0).order_by("number")
    assert first.due_at is not None and second.due_at is None
    assert 55 < (first.due_at - datetime.now(UTC)).total_seconds() <= 60
    run()
    pass_time(key)
    second.refresh_from_db()
    assert second.due_at is not None and 295 < (second.due_at - datetime.now(UTC)).total_seconds() <= 300
    run()
    pass_time(key)
    run()
    assert channels() == ["chat", "sms", "email"]


def test_one_look_takes_them_all(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legs, "BATCH", 2)
    keys = [hand_in(project) for _ in range(5)]
    Leg.objects.filter(due_at__isnull=False).update(due_at=datetime.now(UTC) - timedelta(seconds=1))
    assert legs.take_overdue() == 5
    assert {leg_of(key) for key in keys} == {1}


def test_what_still_waits_when_its_ttl_passes_goes_by_the_next_leg_only(project: Project) -> None:
    key = hand_in(project)
    assert pass_time(key) == 1
    assert QueueRow.objects.get().account_id == ProviderAccount.objects.get(code="by-sms").pk
    run()
    assert channels() == ["sms"]


def test_an_unknown_outcome_waits_for_the_ttl(project: Project, adapter: type[ByChannel]) -> None:
    adapter.fails = {"chat": FailureClass.AMBIGUOUS}
    key = hand_in(project)
    run()
    assert (status_of(key), leg_of(key)) == ("unknown", 0)
    pass_time(key)
    run()
    assert (status_of(key), channels()) == ("sent", ["chat", "sms"])


def test_when_the_last_leg_fails_the_message_has_failed(project: Project, adapter: type[ByChannel]) -> None:
    adapter.fails = dict.fromkeys(("chat", "sms", "email"), FailureClass.PERMANENT)
    key = hand_in(project)
    run()
    assert (status_of(key), channels(), leg_of(key)) == ("failed", ["chat", "sms", "email"], 2)
    adapter.fails = {}
    act.retry(key, source=Source("admin"))
    run()
    assert (status_of(key), channels()[-1]) == ("sent", "email")  # an operator repeats the leg that was reached


def test_a_leg_that_an_operator_repeats_has_its_whole_time_again(project: Project, adapter: type[ByChannel]) -> None:
    adapter.fails = {"chat": FailureClass.PERMANENT}
    key = hand_in(project, {**SMS, "ttl": 60})
    ProviderAccount.objects.filter(code="by-sms").update(enabled=False)
    route.forget()
    run()
    assert pass_time(key) == 0
    assert (status_of(key), leg_of(key)) == ("failed", 0)
    adapter.fails = {}
    ProviderAccount.objects.update(enabled=True)
    route.forget()
    act.retry(key, source=Source("admin"))
    due = Leg.objects.get(message_id=key, number=1).due_at
    assert due is not None and 55 < (due - datetime.now(UTC)).total_seconds() <= 60
    run()
    pass_time(key)
    run()
    assert (channels(), status_of(key)) == (["chat", "chat", "sms"], "sent")


# --- suppression, routing, expiry, cancel


def list_address(project: Project, channel: str, address: str) -> None:
    suppress.add([suppress.Entry(project.pk, channel, address, "manual")])


def test_a_suppressed_first_recipient_is_passed_over_at_once(project: Project) -> None:
    list_address(project, "chat", "ada")
    key = hand_in(project)
    assert (status_of(key), leg_of(key)) == ("pending", 1)
    assert Leg.objects.get(message_id=key, number=1).taken_at is not None
    run()
    assert channels() == ["sms"]
    assert [kind for kind, _ in decisions(key)] == ["suppressed", "next_leg"]


def test_what_is_scheduled_waits_though_its_first_leg_is_passed_over(project: Project) -> None:
    list_address(project, "chat", "ada")
    at = datetime.now(UTC) + timedelta(hours=5)
    key = hand_in(project, {**SMS, "ttl": 60}, {**MAIL, "ttl": 300}, scheduled_at=at.isoformat())
    assert (leg_of(key), QueueRow.objects.get().due_at) == (1, at)
    assert Leg.objects.get(message_id=key, due_at__isnull=False).due_at == at + timedelta(seconds=300)
    run(steps=3)
    assert channels() == []


def test_a_suppressed_leg_is_passed_over(project: Project, adapter: type[ByChannel]) -> None:
    adapter.fails = {"chat": FailureClass.PERMANENT}
    list_address(project, "sms", "+491511234567")
    key = hand_in(project)
    run()
    assert channels() == ["chat", "email"]
    assert "leg 1 was passed over: its recipient is on the suppression list" in decisions(key)[-1][1]


def test_a_leg_whose_recipient_withdrew_consent_is_not_sent(project: Project, adapter: type[ByChannel]) -> None:
    adapter.fails = {"chat": FailureClass.PERMANENT}
    asked = Asked("sms", SMS["recipient"], "offers")
    consents.put(project_id=project.pk, wanted=[(asked, ConsentState.WITHDRAWN)], by=By("api"))
    key = hand_in(project, purpose="offers")
    run()
    assert channels() == ["chat", "email"] and status_of(key) == "sent"
    assert "leg 1 was passed over: consent for the purpose “offers” was withdrawn" in decisions(key)[-1][1]


def test_what_may_still_arrive_is_not_given_up_for_a_leg_that_must_not_be_sent(project: Project) -> None:
    asked = Asked("sms", SMS["recipient"], "offers")
    consents.put(project_id=project.pk, wanted=[(asked, ConsentState.WITHDRAWN)], by=By("api"))
    key = hand_in(project, {**SMS, "ttl": 60}, purpose="offers")
    run()
    assert pass_time(key) == 0
    run()
    assert (status_of(key), leg_of(key), channels()) == ("sent", 0, ["chat"])


def test_a_link_of_a_leg_unsubscribes_the_recipient_of_the_leg(project: Project, adapter: type[ByChannel]) -> None:
    EngagementSettings.objects.create(project=project, domain="https://links.example", unsubscribe=True)
    projects.forget()
    adapter.fails = {"chat": FailureClass.PERMANENT}
    key = hand_in(project, MAIL)
    run()
    leave = adapter.sent[-1].headers["List-Unsubscribe"].strip("<>")
    answer = Client().post(leave.removeprefix("https://links.example"), {"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200 and leg_of(key) == 1
    mail = ("email", "ada@example.org")
    assert suppress.suppressed(project.pk, [mail, ("chat", "ada")]) == {mail}


def test_a_leg_without_a_usable_account_is_passed_over(project: Project, adapter: type[ByChannel]) -> None:
    adapter.fails = {"chat": FailureClass.PERMANENT}
    key = hand_in(project)
    ProviderAccount.objects.filter(code="by-sms").update(enabled=False)
    route.forget()
    run()
    assert channels() == ["chat", "email"]
    assert leg_of(key) == 2


def test_all_legs_suppressed_end_the_message_and_say_why(project: Project) -> None:
    for channel, address in (("chat", "ada"), ("sms", "+491511234567"), ("email", "ada@example.org")):
        list_address(project, channel, address)
    key = hand_in(project)
    message = Message.objects.get(pk=key)
    assert (message.status, message.reason) == ("failed", "suppressed")
    assert not QueueRow.objects.exists()
    assert Event.objects.filter(message_id=key, text__contains="leg 2 was passed over").exists()


def test_an_expired_message_takes_no_leg(project: Project) -> None:
    key = hand_in(project, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    run()
    Message.objects.filter(pk=key).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert pass_time(key) == 0
    tell(key, 1, ReceiptKind.FAILED, failure=FailureClass.PERMANENT)
    assert (status_of(key), leg_of(key)) == ("failed", 0)


def test_a_cancelled_message_takes_no_leg(project: Project) -> None:
    key = hand_in(project)
    act.cancel(key, source=Source("admin"))
    assert pass_time(key) == 0
    assert (status_of(key), leg_of(key)) == ("cancelled", 0)


def test_while_sending_is_paused_no_leg_is_taken(project: Project) -> None:
    key = hand_in(project)
    Switch.objects.update_or_create(pk=1, defaults={"sending_paused": True})
    assert pass_time(key) == 0
    Switch.objects.update(sending_paused=False)
    Project.objects.update(paused=True)
    assert pass_time(key) == 0
    Project.objects.update(paused=False)
    assert pass_time(key) == 1


# --- late news


def test_a_late_delivery_before_the_next_leg_was_sent_ends_it(project: Project) -> None:
    key = hand_in(project)
    run()
    pass_time(key)
    tell(key, 1)
    assert (status_of(key), leg_of(key), QueueRow.objects.count()) == ("delivered", 0, 0)
    tell(key, 1, ReceiptKind.BOUNCED, bounce=BounceClass.HARD)
    run()
    assert channels() == ["chat", "sms"]  # taken back, it was still there to be taken


def test_a_late_delivery_of_an_abandoned_leg_shows(project: Project) -> None:
    key = hand_in(project)
    run()
    pass_time(key)
    run()
    tell(key, 2)
    assert not Record([key]).messages[key].delivered_twice
    tell(key, 1)
    tell(key, 1, ReceiptKind.READ)
    row = Record([key]).messages[key]
    assert row.delivered_twice and row.status == "read"
    assert Event.objects.filter(message_id=key, dedupe_key="note:delivered_twice").count() == 1


def test_a_late_delivery_during_the_next_legs_call_shows(project: Project, adapter: type[ByChannel]) -> None:
    key = hand_in(project)
    run()
    pass_time(key)

    def arrive(outbound: Outbound) -> None:
        try:
            tell(key, 1)
            assert not Record([key]).messages[key].delivered_twice  # the second may still be refused
        finally:
            connections.close_all()

    adapter.during = staticmethod(arrive)
    run()
    assert Record([key]).messages[key].delivered_twice
    tell(key, 2)
    assert Event.objects.filter(message_id=key, dedupe_key="note:delivered_twice").count() == 1


def test_a_failure_of_an_abandoned_leg_changes_nothing(project: Project) -> None:
    key = hand_in(project)
    run()
    pass_time(key)
    run()
    tell(key, 1, ReceiptKind.FAILED, failure=FailureClass.PERMANENT)
    run()
    assert (status_of(key), channels(), leg_of(key)) == ("sent", ["chat", "sms"], 1)


# --- never two at once


def test_no_leg_is_taken_while_the_one_before_is_being_handed_over(project: Project, adapter: type[ByChannel]) -> None:
    key = hand_in(project)
    seen: list[tuple[int, str]] = []

    def look(outbound: Outbound) -> None:
        try:
            if outbound.channel == "chat":
                seen.append((pass_time(key), status_of(key)))
        finally:
            connections.close_all()

    adapter.during = staticmethod(look)
    run()
    assert seen == [(0, "processing")]
    assert channels() == ["chat"]
    pass_time(key)
    run()
    assert channels() == ["chat", "sms"]


@pytest.mark.parametrize("refused", [True, False])
def test_a_failure_told_during_the_call_takes_the_leg_after_it(
    project: Project, adapter: type[ByChannel], refused: bool
) -> None:
    """The receipt comes before the answer: the decision stands, and is carried out when the call has ended."""
    key = hand_in(project)
    adapter.fails = {"chat": FailureClass.PERMANENT} if refused else {}
    during: list[list[str]] = []

    def look(outbound: Outbound) -> None:
        try:
            if outbound.channel == "chat":
                tell(key, 1, ReceiptKind.FAILED, failure=FailureClass.PERMANENT)
                assert dispatch.start(ProviderAccount.objects.get(code="by-sms").pk, 5) == []
                during.append(channels())
        finally:
            connections.close_all()

    adapter.during = staticmethod(look)
    run()
    assert during == [["chat"]]
    assert (channels(), status_of(key), leg_of(key)) == (["chat", "sms"], "sent", 1)


def test_many_loops_take_a_leg_once(project: Project) -> None:
    keys = [hand_in(project) for _ in range(6)]
    run()
    Leg.objects.filter(due_at__isnull=False).update(due_at=datetime.now(UTC) - timedelta(seconds=1))
    taken: list[int] = []

    def look() -> None:
        try:
            taken.append(legs.take_overdue())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {kind for key in keys for kind, _ in decisions(key)} == {"queued", "next_leg"}
    assert all(len(decisions(key)) == 2 for key in keys)
    run()
    assert channels().count("sms") == len(keys)


def test_a_worker_that_dies_during_the_call_loses_no_leg(project: Project) -> None:
    """Its lease runs out, the outcome is unknown; the ttl then takes the next leg."""
    key = hand_in(project)
    assert len(dispatch.start(ProviderAccount.objects.get(code="by-chat").pk, 5)) == 1  # and nobody hands it over
    assert pass_time(key) == 0
    QueueRow.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
    reap.orphans()
    assert status_of(key) == "unknown"
    assert pass_time(key) == 1
    run()
    assert (channels(), status_of(key)) == (["sms"], "sent")


def test_a_leg_that_was_decided_on_outlives_worker_and_account(project: Project) -> None:
    """A receipt takes the next leg during the call, the worker dies in it, and the account cannot be used any more."""
    key = hand_in(project)
    chat = ProviderAccount.objects.get(code="by-chat")
    assert len(dispatch.start(chat.pk, 5)) == 1  # and nobody hands it over
    tell(key, 1, ReceiptKind.FAILED, failure=FailureClass.PERMANENT)
    ProviderAccount.objects.filter(pk=chat.pk).update(kind="none-such")
    accounts.forget()
    QueueRow.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
    assert reap.orphans() == []
    run()
    assert (channels(), status_of(key), leg_of(key)) == (["sms"], "sent", 1)


def test_a_crash_while_a_leg_is_taken_leaves_it_to_the_next_look(project: Project) -> None:
    key = hand_in(project)
    run()
    with pytest.MonkeyPatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(Record, "save", lambda *args, **kw: 1 / 0)
        pass_time(key)
    assert (status_of(key), QueueRow.objects.count()) == ("sent", 0)
    assert legs.take_overdue() == 1
    run()
    assert channels() == ["chat", "sms"]


# --- what is shown


def shown(project: Project, key: UUID) -> list[tuple[int, str, int]]:
    found = lookup.notification(project.pk, key)
    assert found is not None
    return [(leg["number"], leg["status"], leg["attempts"]) for leg in found["legs"]]


def test_the_api_shows_what_became_of_each_leg(project: Project) -> None:
    key = hand_in(project)
    assert shown(project, key) == [(0, "pending", 0), (1, "not_used", 0), (2, "not_used", 0)]
    run()
    assert shown(project, key) == [(0, "sent", 1), (1, "not_used", 0), (2, "not_used", 0)]
    pass_time(key)
    assert shown(project, key) == [(0, "sent", 1), (1, "pending", 0), (2, "not_used", 0)]
    run()
    tell(key, 2)
    assert shown(project, key) == [(0, "sent", 1), (1, "delivered", 1), (2, "not_used", 0)]
    tell(key, 1)
    found = lookup.notification(project.pk, key)
    assert found is not None and found["double_delivery"]
    sms = found["legs"][1]
    assert (sms["channel"], sms["recipient"], sms["ttl"]) == ("sms", "+491511234567", 60)
    assert (sms["content"], found["legs"][0]["content"]) == ({"text": "by SMS"}, {"text": "by chat"})


def test_a_leg_that_was_passed_over_is_not_used(project: Project) -> None:
    list_address(project, "chat", "ada")
    list_address(project, "sms", "+491511234567")
    key = hand_in(project)
    assert shown(project, key) == [(0, "not_used", 0), (1, "not_used", 0), (2, "pending", 0)]


def test_a_leg_that_was_taken_back_shows_as_not_taken(project: Project) -> None:
    key = hand_in(project)
    run()
    pass_time(key)
    tell(key, 1)
    found = lookup.notification(project.pk, key)
    assert found is not None
    assert [(leg["status"], leg["taken_at"] is None) for leg in found["legs"]] == [
        ("delivered", False),
        ("not_used", True),
        ("not_used", True),
    ]


def test_sent_again_a_copy_has_the_same_legs(project: Project) -> None:
    key = hand_in(project)
    copy = act.send_again(key, source=Source("admin"), token="once")
    kept = ("channel", "recipient", "ttl", "content")
    was, now = ([{name: leg[name] for name in kept} for leg in lookup.notification(project.pk, each)["legs"]]
                for each in (key, copy))  # type: ignore[index]  # fmt: skip
    assert was == now


# --- the fold, and the price of it all


def test_a_refold_gives_the_same_and_takes_no_leg(project: Project) -> None:
    key = hand_in(project)
    run()
    pass_time(key)
    run()
    before = Message.objects.filter(pk=key).values().get()
    with transaction.atomic():
        refold([key])
    assert Message.objects.filter(pk=key).values().get() == before
    assert not QueueRow.objects.exists()


def test_a_message_without_fallback_never_touches_the_table_of_legs(project: Project) -> None:
    with CaptureQueriesContext(connection) as asked:
        key = make_message(project, channel="chat", recipient="bob")
        run()
        tell(key, 1)
    assert status_of(key) == "delivered"
    assert len(asked) > 10
    assert not [each["sql"] for each in asked if re.search(r"(INTO|FROM|UPDATE) \"?leg\b", each["sql"])]


# --- bad input


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"fallback": [{**SMS, "recipient": "nobody"}]}, "/fallback/0/recipient"),
        ({"fallback": [{**SMS, "content": {}}]}, "/fallback/0/content"),
        ({"fallback": [{**SMS, "ttl": 0}]}, "/fallback/0/ttl"),
        ({"fallback": [{**SMS, "ttl": 10**9}]}, "/fallback/0/ttl"),
        ({"fallback": [{**SMS, "provider": "nobody"}]}, "/fallback/0/provider"),
        ({"fallback": [{**MAIL, "channel": "push", "recipient": "device-token"}]}, "/fallback/0/channel"),
        ({"fallback": [{**SMS, "when": "now"}]}, "/fallback/0/when"),
        ({"fallback": [SMS] * 6}, "/fallback"),
        ({"fallback": [SMS], "recipient": None, "recipients": ["a", "b"]}, "/fallback"),
        ({"fallback": [{**MAIL, "sender": "nobody"}]}, "/fallback/0/sender"),
    ],
)
def test_a_wrong_leg_is_named_and_nothing_is_stored(project: Project, change: dict[str, Any], pointer: str) -> None:
    document = {"channel": "chat", "recipient": "ada", "content": {"text": "x"}, **change}
    with pytest.raises(Invalid) as refused:
        submit.submit(sender_of(project), {name: value for name, value in document.items() if value is not None})
    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert not Message.objects.exists() and not Leg.objects.exists()


def test_the_page_of_the_message_shows_its_legs(project: Project, admin_client: Client) -> None:
    key = hand_in(project)
    run()
    pass_time(key)
    run()
    tell(key, 1)
    page = admin_client.get(f"/admin/tracking/message/{key}/change/").content.decode()
    assert "not used" in page and "+491511234567" in page
    assert "the recipient may have the message twice" in page
    assert "had not delivered within 60 s" in page
