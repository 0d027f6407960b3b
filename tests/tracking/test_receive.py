"""From a provider's request to a status: the hook, matching, deduplication, what is unmatched, what cannot be read."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django.db import connection, connections, transaction
from django.test import Client, RequestFactory

from providers.base import Receipt, ReceiptKind
from providers.models import ProviderAccount
from providers.sandbox import wire
from tests.builders import make_account, make_message, make_project
from tests.tracking.lives import queue_message, status_of
from tracking import hooks, ids, loops
from tracking.models import Attempt, Event, Grant, Inbound, Message, Project, QueueRow, Suppression, Unmatched
from tracking.services import dispatch, inbound, outcomes, receipts, receive, unmatched
from tracking.services.handover import hand_over
from tracking.services.record import Record

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "test-hook-secret"


def say(word: str, echo: str = "", *, at: datetime | None = None, **kw: Any) -> dict[str, Any]:
    moment = at or datetime.now(UTC)
    return {"id": uuid4().hex, "type": word, "at": moment.isoformat(), "echo": echo, "reference": "", **kw}


def post(account: ProviderAccount, *events: dict[str, Any], body: bytes | None = None, **headers: str) -> Any:
    body = orjson.dumps({"events": events}) if body is None else body
    signed = {**wire.sign(SECRET, body, int(time.time())), **headers}
    return Client().post(f"/hooks/{account.hook_token}", body, content_type="application/json", headers=signed)


def stored(word: str, message_id: UUID, **kw: Any) -> dict[str, Any]:
    """A receipt as it waits for its attempt."""
    return unmatched._dump(Receipt(ReceiptKind(word), None, echo=f"{message_id}.1", **kw))


def sent_message(project: Project, account: ProviderAccount, **kw: Any) -> UUID:
    """A message whose first attempt the provider took."""
    message_id = queue_message(project, account, **kw)
    start_again(account, message_id)
    return message_id


def start_again(account: ProviderAccount, message_id: UUID) -> None:
    QueueRow.objects.filter(pk=message_id).update(due_at=datetime.now(UTC))
    with transaction.atomic():
        work = Record([message_id])
        row = work.messages[message_id]
        work.start_attempt(row, account_id=account.pk, idempotency_key="k")
        work.save()
    QueueRow.objects.filter(pk=message_id).delete()


@pytest.fixture
def account() -> ProviderAccount:
    return make_account(make_project())


@pytest.fixture
def message_id(account: ProviderAccount) -> UUID:
    return sent_message(account.projects.get(), account)


def test_a_receipt_changes_the_status(account: ProviderAccount, message_id: UUID) -> None:
    answer = post(account, say("accepted", f"{message_id}.1"), say("delivered", f"{message_id}.1"))
    assert answer.status_code == 200
    assert Inbound.objects.get().state == "new"
    assert receive.drain() == 1
    assert status_of(message_id) == "delivered"
    raw = Inbound.objects.get()
    assert (raw.state, raw.receipts, raw.unmatched, raw.error) == ("done", 2, 0, "")
    assert set(Event.objects.filter(message_id=message_id, inbound_id=raw.pk).values_list("kind", flat=True)) == {
        "accepted",
        "delivered",
    }


def test_the_same_receipt_counts_once(account: ProviderAccount, message_id: UUID) -> None:
    event = say("clicked", f"{message_id}.1")
    for _ in range(3):
        post(account, event, event)
    receive.drain()
    post(account, event)
    receive.drain()
    assert Event.objects.filter(message_id=message_id, kind="clicked").count() == 1
    assert status_of(message_id) == "read"


@pytest.mark.parametrize(
    "headers",
    [
        {wire.SIGNATURE_HEADER: ""},
        {wire.SIGNATURE_HEADER: "0" * 64},
        {wire.SIGNATURE_HEADER: "é"},
        {wire.TIMESTAMP_HEADER: "1"},
        {wire.TIMESTAMP_HEADER: ""},
    ],
)
def test_a_forged_receipt_is_refused_and_not_stored(
    account: ProviderAccount, message_id: UUID, headers: dict[str, str]
) -> None:
    assert post(account, say("delivered", f"{message_id}.1"), **headers).status_code == 401
    assert not Inbound.objects.exists()


def test_a_hook_answers_what_fits(account: ProviderAccount) -> None:
    client = Client()
    assert client.post("/hooks/nobody", b"{}", content_type="application/json").status_code == 404
    assert client.get(f"/hooks/{account.hook_token}").status_code == 405
    big = b"x" * (10 * 1024 * 1024 + 1)
    assert post(account, body=big).status_code == 413
    assert not Inbound.objects.exists()


def test_what_cannot_be_read_is_kept_and_the_rest_applied(account: ProviderAccount, message_id: UUID) -> None:
    for body in (b"not json", b"\xff\x00", b"[]", b'{"events": [{"type": "delivered"}]}'):
        assert post(account, body=body).status_code == 200
    post(account, say("delivered", f"{message_id}.1"))
    receive.drain()
    assert status_of(message_id) == "delivered"
    parked = Inbound.objects.filter(state="error")
    assert parked.count() == 4 and all(parked.values_list("error", flat=True))
    assert inbound.replay(parked[0].pk)
    receive.drain()
    assert Inbound.objects.filter(state="error").count() == 4


def test_hostile_texts_are_stored_harmlessly(account: ProviderAccount, message_id: UUID) -> None:
    nasty = "<script>\u202e\x00\x07" + "x" * 5000
    post(account, say("bounced", f"{message_id}.1", code="5.1.1", text=nasty))
    receive.drain()
    assert status_of(message_id) == "bounced"
    assert Event.objects.get(message_id=message_id, kind="bounced").text.startswith("<script>")


def test_another_accounts_hook_changes_nothing(account: ProviderAccount, message_id: UUID) -> None:
    """Account A's hook names project B's message."""
    stranger = make_account(make_project())
    post(stranger, say("bounced", f"{message_id}.1", code="5.1.1"))
    receive.drain()
    assert status_of(message_id) == "processing"
    assert Unmatched.objects.get().why == "the attempt belongs to another account"
    assert Inbound.objects.get().unmatched == 1


def test_a_late_bounce_of_the_first_attempt_leaves_the_second_alone(account: ProviderAccount, message_id: UUID) -> None:
    start_again(account, message_id)
    post(account, say("bounced", f"{message_id}.1", code="5.1.1"))
    receive.drain()
    first, second = Attempt.objects.filter(message_id=message_id).order_by("number")
    assert first.bounced_at is not None and second.bounced_at is None
    assert status_of(message_id) == "processing"
    post(account, say("delivered", f"{message_id}.2"))
    receive.drain()
    assert status_of(message_id) == "delivered"


def test_a_receipt_that_comes_before_the_answer_of_the_send(account: ProviderAccount) -> None:
    project = account.projects.get()
    message_id = queue_message(project, account)
    [handover] = dispatch.start(account.pk, 1)
    post(account, say("delivered", f"{message_id}.1", reference="early-ref"))
    receive.drain()
    assert status_of(message_id) == "delivered"
    outcomes.finish([hand_over(handover)])
    message = Message.objects.get(pk=message_id)
    assert message.status == "delivered" and not QueueRow.objects.exists()


def test_without_an_echo_the_providers_id_is_matched_once_it_is_known(account: ProviderAccount) -> None:
    message_id = queue_message(account.projects.get(), account)
    [handover] = dispatch.start(account.pk, 1)
    outcome = hand_over(handover)
    assert outcome.result is not None
    post(account, say("delivered", reference=outcome.result.reference))
    receive.drain()
    waiting = Unmatched.objects.get()
    assert waiting.why == "no attempt has this id"
    outcomes.finish([outcome])
    unmatched.try_now([waiting.pk])
    assert unmatched.retry() == 1
    assert status_of(message_id) == "delivered" and not Unmatched.objects.exists()


def test_an_unmatched_receipt_is_tried_up_to_the_horizon(account: ProviderAccount) -> None:
    strange = [f"{ids.new()}.1", f"{uuid4()}.1", "rubbish", f"{ids.floor(datetime(2001, 1, 1, tzinfo=UTC))}.1", ""]
    post(account, *[say("delivered", echo) for echo in strange])
    receive.drain()
    assert Unmatched.objects.count() == len(strange)
    Unmatched.objects.update(next_try_at=datetime.now(UTC), received_at=datetime.now(UTC) - timedelta(days=30))
    assert unmatched.retry() == 0
    assert set(Unmatched.objects.values_list("next_try_at", "tries")) == {(None, 1)}
    inbound.replay(Inbound.objects.get().pk)  # a replay does not double them
    receive.drain()
    assert Unmatched.objects.count() == len(strange)


def test_a_bad_address_and_a_complaint_suppress_the_recipient(account: ProviderAccount) -> None:
    project = account.projects.get()
    bounced = sent_message(project, account, recipient="gone@example.com")
    complained = sent_message(project, account, recipient="angry@example.com")
    post(account, say("bounced", f"{bounced}.1", code="5.1.1"), say("complained", f"{complained}.1"))
    receive.drain()
    assert set(Suppression.objects.values_list("address", "reason")) == {
        ("gone@example.com", "hard_bounce"),
        ("angry@example.com", "complaint"),
    }
    assert status_of(complained) == "processing"  # a complaint never lowers a status


def test_a_receipt_about_a_copy_is_not_one_about_the_message(account: ProviderAccount) -> None:
    body = {"text": "Hi", "cc": ["Carl <Carl@example.com>"]}
    message_id = sent_message(account.projects.get(), account, recipient="ada@example.com", body=body)
    echo = f"{message_id}.1"
    post(account, say("bounced", echo, code="5.1.1", recipient="carl@Example.com"))
    receive.drain()
    assert status_of(message_id) == "processing"
    assert Suppression.objects.get().address == "carl@Example.com"
    post(account, say("delivered", echo, recipient="ADA@example.com"))
    receive.drain()
    assert status_of(message_id) == "delivered"
    post(account, say("bounced", echo, code="5.1.1", recipient="forwarded@elsewhere.example"))
    receive.drain()
    assert status_of(message_id) == "bounced"


def test_times_are_clamped_and_the_raw_one_kept(account: ProviderAccount, message_id: UUID) -> None:
    past, future = datetime(2001, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=400)
    post(account, say("accepted", f"{message_id}.1", at=past), say("opened", f"{message_id}.1", at=future))
    receive.drain()
    attempt = Attempt.objects.get(message_id=message_id)
    assert attempt.accepted_at == attempt.started_at
    opened = Event.objects.get(message_id=message_id, kind="opened")
    assert opened.occurred_at <= opened.recorded_at + timedelta(minutes=5) and opened.said_at == future


def test_a_batch_that_the_database_refuses_is_halved(account: ProviderAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    project = account.projects.get()
    messages = [sent_message(project, account) for _ in range(9)]
    for number, message_id in enumerate(messages):
        post(account, say("delivered", f"{message_id}.1", code="poison" if number == 4 else ""))
    monkeypatch.setattr(receipts, "clean", lambda text, length: "\x00" if text == "poison" else text[:length])
    receive.drain()
    assert [status_of(m) for m in messages].count("delivered") == 8
    assert status_of(messages[4]) == "processing"
    assert Inbound.objects.get(state="error").error


def test_three_loops_on_overlapping_batches_do_not_deadlock(account: ProviderAccount) -> None:
    project = account.projects.get()
    messages = [sent_message(project, account) for _ in range(40)]
    for number in range(60):
        shuffled = sorted(messages, key=lambda m: hash((m, number)))
        word = ("accepted", "delivered", "opened")[number % 3]
        post(account, *[say(word, f"{m}.1") for m in shuffled])
    failures: list[BaseException] = []
    barrier = threading.Barrier(3)

    def loop() -> None:
        try:
            barrier.wait()
            while receive.drain():
                pass
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    small, receive.BATCH = receive.BATCH, 4
    threads = [threading.Thread(target=loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    receive.BATCH = small
    assert not failures
    assert {status_of(m) for m in messages} == {"read"}
    assert Inbound.objects.filter(state="done").count() == 60
    assert Event.objects.filter(kind="opened").count() == 40 * 20


def test_a_missing_partition_never_loses_a_receipt(account: ProviderAccount, message_id: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM message WHERE id = %s", [message_id])
        week = cursor.fetchone()[0].removeprefix("message_")
        cursor.execute(f"DROP TABLE inbound_{week}")
    assert post(account, say("delivered", f"{message_id}.1")).status_code == 200
    receive.drain()
    assert status_of(message_id) == "delivered"


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00+23:59"])
def test_a_moment_outside_of_the_calendar_does_no_harm(account: ProviderAccount, message_id: UUID, at: str) -> None:
    post(account, {**say("delivered", f"{message_id}.1"), "at": at}, say("opened", f"{message_id}.1"))
    receive.drain()
    assert status_of(message_id) == "read"
    assert [event.said_at is None or event.said_at.year > 1 for event in Event.objects.filter(message_id=message_id)]


def test_what_was_sent_elsewhere_takes_no_receipt_of_our_own_attempts(account: ProviderAccount) -> None:
    """A project that names another's reference on a shared account gets nothing of it."""
    own = queue_message(account.projects.get(), account)
    [handover] = dispatch.start(account.pk, 1)
    outcomes.finish([outcome := hand_over(handover)])
    assert outcome.result is not None
    thief = make_project()
    Grant.objects.create(project=thief, account=account)
    stolen = make_message(thief, provider=account.code, provider_message_id=outcome.result.reference)
    post(account, say("delivered", reference=outcome.result.reference))
    receive.drain()
    assert (status_of(own), status_of(stolen)) == ("delivered", "sent")


def test_of_projects_that_follow_one_reference_the_first_gets_its_receipts(account: ProviderAccount) -> None:
    said = {"provider": account.code, "provider_message_id": "theirs"}
    first = make_message(account.projects.get(), **said)
    thief = make_project()
    Grant.objects.create(project=thief, account=account)
    stolen = make_message(thief, **said)
    post(account, say("delivered", reference="theirs"))
    receive.drain()
    assert (status_of(first), status_of(stolen)) == ("delivered", "sent")


def test_an_unreadable_event_marks_its_request_and_the_others_are_applied() -> None:
    project = make_project()
    gateway = make_account(project, kind="http", settings={}, credentials={"secret": "QUFB" * 10})
    message_id = sent_message(project, gateway)
    events = [{"type": "delivered", "echo": f"{message_id}.1"}, {"reference": "theirs", "occurred_at": "noon"}]
    raw = Inbound.objects.create(
        id=ids.new(), account=gateway, method="POST", url="/", headers={}, body=orjson.dumps({"events": events})
    )
    receive.drain()
    raw.refresh_from_db()
    assert (status_of(message_id), raw.state, raw.receipts) == ("delivered", "error", 2)
    assert Unmatched.objects.get().receipt["reference"] == "theirs"
    assert raw.error == "1 of 2 events could not be read: an event without a type"


@pytest.mark.parametrize("error", [TypeError("a bug"), KeyError("x"), OverflowError()])
def test_what_cannot_be_applied_holds_up_no_other(
    account: ProviderAccount, message_id: UUID, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A bug that one receipt meets, in a batch of new ones and among those that are tried again."""
    apply = receipts.apply

    def broken(items: Sequence[receipts.Item]) -> None:
        if any(item.receipt.text == "poison" for item in items):
            raise error
        apply(items)

    monkeypatch.setattr(receipts, "apply", broken)
    post(account, {**say("bounced", f"{message_id}.1"), "text": "poison"})
    post(account, say("accepted", f"{message_id}.1"))
    assert receive.drain() == 2
    assert sorted(Inbound.objects.values_list("state", flat=True)) == ["done", "error"]
    waiting = {"account": account, "item": 0, "why": "x", "received_at": datetime.now(UTC)}
    for number, text in enumerate(("poison", "fine")):
        receipt = stored("delivered", message_id, text=text)
        Unmatched.objects.create(
            inbound_id=ids.new(), receipt=receipt, next_try_at=datetime.now(UTC), **{**waiting, "item": number}
        )
    assert unmatched.retry() == 1
    assert status_of(message_id) == "delivered"
    assert Unmatched.objects.get().next_try_at is None and "cannot be applied" in Unmatched.objects.get().why


def test_the_loop_tries_unmatched_receipts_again_however_many_new_ones_come(
    account: ProviderAccount, message_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    waits = {"account": account, "inbound_id": ids.new(), "item": 0, "why": "x"}
    Unmatched.objects.create(**waits, receipt=stored("delivered", message_id), received_at=now, next_try_at=now)
    drain = receive.drain
    monkeypatch.setattr(receive, "drain", lambda: drain() or 1)  # there is always more
    assert loops.run_receive(0, seconds=0.5, others=lambda: None, handing_on=lambda: None)
    assert status_of(message_id) == "delivered"


def test_a_chunked_receipt_is_stored_whole(account: ProviderAccount, message_id: UUID) -> None:
    body = orjson.dumps({"events": [say("delivered", f"{message_id}.1")]})
    request = RequestFactory().post("/hooks/x", content_type="application/json")
    request.META |= {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "CONTENT_LENGTH": "",
        "wsgi.input": io.BytesIO(body),
        **{f"HTTP_{k.upper().replace('-', '_')}": v for k, v in wire.sign(SECRET, body, int(time.time())).items()},
    }
    assert hooks.receive(request, account.hook_token).status_code == 200
    assert bytes(Inbound.objects.get().body) == body
