"""Handing messages in: what is written, where it goes, what is refused, and what happens at the same moment."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import time_machine
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from providers.models import Circuit
from tests.builders import make_account, make_message, make_project, sender_of
from tracking import clock, ids, partitions
from tracking.models import Attempt, Batch, Content, Event, IdempotencyKey, Message, MetricDelta, Project, QueueRow
from tracking.schema import Invalid
from tracking.services import route, submit, suppress
from tracking.services.idempotency import Key, Reused

pytestmark = pytest.mark.django_db

DOCUMENT = {"channel": "email", "recipient": "ada@example.org", "subject": "Hi", "content": {"text": "Hello"}}


@pytest.fixture
def project() -> Project:
    project = make_project()
    make_account(project)
    return project


def send(project: Project, **kw: Any) -> dict[str, Any]:
    return submit.submit(sender_of(project), {**DOCUMENT, **kw})


def errors_of(project: Project, **kw: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        send(project, **kw)
    assert not Message.objects.exists() and not Content.objects.exists() and not QueueRow.objects.exists()
    return dict(caught.value.errors)


# --- what is written


def test_a_message_is_written_with_its_content_event_queue_row_and_count(project: Project) -> None:
    answer = send(project, metadata={"order": 7}, tags=["shop"], category="receipt", external_id="o-7", priority=2)

    message = Message.objects.get(pk=answer["id"])
    assert (message.status, message.recipient, message.priority) == ("pending", "ada@example.org", 2)
    assert (message.external_id, message.category, message.tags) == ("o-7", "receipt", ["shop"])
    body = Content.objects.get(pk=message.pk).body
    assert body == {
        **{"subject": "Hi", "text": "Hello", "metadata": {"order": 7}},
        **{"tags": ["shop"], "category": "receipt"},
    }
    event = Event.objects.get(message_id=message.pk)
    assert (event.kind, event.source, event.number, event.detail) == ("queued", "api", 1, {"key": "test"})
    queued = QueueRow.objects.get(pk=message.pk)
    assert (queued.account_id, queued.priority, queued.project_id) == (message.account_id, 2, project.pk)
    assert queued.due_at <= datetime.now(UTC)
    deltas = MetricDelta.objects.values_list("kind", "label", "counts")
    assert sorted(deltas) == [(*of, {"created": 1, "pending": 1}) for of in (("", ""), ("category", "receipt"))]
    assert answer["tracking"]["created_at"] == ids.time_of(message.pk)
    assert answer["tracking"]["provider"] == message.account.code


def test_a_scheduled_message_is_due_then(project: Project) -> None:
    then = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    answer = send(project, scheduled_at=then.isoformat(), expires_at=(then + timedelta(hours=1)).isoformat())

    queued = QueueRow.objects.get(pk=answer["id"])
    assert (queued.due_at, queued.expires_at) == (then, then + timedelta(hours=1))


def test_each_of_several_recipients_gets_a_message_in_one_batch(project: Project) -> None:
    document = {key: value for key, value in DOCUMENT.items() if key != "recipient"}
    addresses = [f"user{number}@example.org" for number in range(5)]
    answer = submit.submit(sender_of(project), {**document, "recipients": addresses})

    assert Batch.objects.get(pk=answer["batch_id"]).size == 5
    messages = Message.objects.filter(batch_id=answer["batch_id"]).order_by("pk")
    assert [message.recipient for message in messages] == addresses
    assert [shape["id"] for shape in answer["notifications"]] == [message.pk for message in messages]


def test_a_wrong_item_of_a_batch_does_not_stop_the_right_ones(project: Project) -> None:
    items = [DOCUMENT, {**DOCUMENT, "recipient": "nobody"}, 7, {**DOCUMENT, "recipient": "ben@example.org"}]
    answer = submit.submit_batch(sender_of(project), {"notifications": items})

    assert (answer["accepted"], answer["rejected"]) == (2, 2)
    assert [item["index"] for item in answer["notifications"]] == [0, 1, 2, 3]
    assert [item.get("status") for item in answer["notifications"]] == ["pending", None, None, "pending"]
    assert answer["notifications"][1]["error"]["errors"][0]["pointer"] == "/recipient"
    assert Message.objects.count() == 2


def test_a_batch_without_any_right_item_is_refused(project: Project) -> None:
    with pytest.raises(Invalid) as caught:
        submit.submit_batch(sender_of(project), {"notifications": [{**DOCUMENT, "channel": "pigeon"}, {}]})
    assert {error.pointer for error in caught.value.errors} == {"/notifications/0/channel", "/notifications/1/channel"}
    assert not Batch.objects.exists()


def test_a_single_message_is_written_by_one_statement(project: Project) -> None:
    """Its atomicity depends on that: submit opens no transaction for it."""
    make_message(project)  # clock and routes are read
    with CaptureQueriesContext(
        connection,
    ) as queries:
        make_message(project)
    assert [query["sql"].split()[0] for query in queries] == ["WITH"]


@pytest.mark.parametrize("size", [3, 300])
def test_the_number_of_statements_does_not_depend_on_the_number_of_messages(project: Project, size: int) -> None:
    make_message(project)
    items = [{**DOCUMENT, "recipient": f"user{number}@example.org"} for number in range(size)]
    with CaptureQueriesContext(connection) as queries:
        submit.submit_batch(sender_of(project), {"notifications": items})
    assert len(queries) == 5  # savepoint, batch, suppression list, everything, release


# --- where it goes


def test_the_healthiest_account_of_the_channel_takes_it() -> None:
    project = make_project()
    make_account(project, code="light", weight=1)
    heavy = make_account(project, code="heavy", weight=9)
    make_account(project, code="texts", weight=99, channel="sms")
    make_account(code="not-granted", weight=99)
    make_account(project, code="switched-off", weight=99, enabled=False)
    assert send(project)["tracking"]["provider"] == "heavy"

    Circuit.objects.create(account=heavy, open_until=datetime.now(UTC) + timedelta(minutes=1))
    route.forget()
    assert send(project)["tracking"]["provider"] == "light"
    assert send(project, provider="heavy")["tracking"]["provider"] == "heavy"


def test_with_every_circuit_open_the_first_account_still_takes_it(project: Project) -> None:
    account = project.accounts.get()
    Circuit.objects.create(account=account, open_until=datetime.now(UTC) + timedelta(minutes=1))
    assert send(project)["tracking"]["provider"] == account.code


def test_a_message_that_nobody_can_take_is_refused() -> None:
    project = make_project()
    make_account(project, code="texts", channel="sms")
    make_account(code="foreign")
    make_account(project, code="switched-off", enabled=False)

    assert errors_of(project).keys() == {"/channel"}
    for code in ("texts", "foreign", "switched-off", "nowhere"):
        assert errors_of(project, provider=code).keys() == {"/provider"}


def test_a_suppressed_recipient_is_not_sent_to(project: Project) -> None:
    suppress.add([suppress.Entry(project.pk, "email", "Ada@example.org", "complaint")])
    answer = send(project)

    assert (answer["status"], answer["reason"]) == ("failed", "suppressed")
    assert not Attempt.objects.exists() and not QueueRow.objects.exists()
    assert MetricDelta.objects.get().counts == {"created": 1, "suppressed": 1}
    other = make_project()
    make_account(other)
    assert send(other)["status"] == "pending"


def test_no_spelling_of_a_suppressed_address_is_sent_to(project: Project) -> None:
    suppress.add([suppress.Entry(project.pk, "email", "ada@example.org", "complaint")])
    document = {**DOCUMENT, "recipients": ["ADA@example.org", "ada@example.org", "Ada@Example.org", "eve@example.org"]}
    del document["recipient"]
    answer = submit.submit(sender_of(project), document)
    assert [each["status"] for each in answer["notifications"]] == ["failed"] * 3 + ["pending"]


def test_a_message_sent_elsewhere_is_followed(project: Project) -> None:
    account = project.accounts.get()
    suppress.add([suppress.Entry(project.pk, "email", "ada@example.org", "complaint")])
    document = {"channel": "email", "recipient": "ada@example.org"}
    answer = submit.submit(
        sender_of(project), {**document, "provider": account.code, "provider_message_id": "abc@mail.example"}
    )

    assert answer["status"] == "sent"
    assert answer["tracking"]["provider_message_id"] == "abc@mail.example"
    attempt = Attempt.objects.get(message_id=answer["id"])
    assert (attempt.number, attempt.reference, attempt.account_id) == (1, "abc@mail.example", account.pk)
    assert attempt.accepted_at == attempt.started_at == answer["tracking"]["sent_at"]
    assert [event.kind for event in Event.objects.order_by("recorded_at", "number")] == ["followed", "accepted"]
    assert not QueueRow.objects.exists()


# --- what is refused


def test_every_error_is_named_at_once(project: Project) -> None:
    errors = errors_of(
        project,
        subject=7,
        priority=99,
        recipient="nobody",
        tags=["x" * 101],
        colour="red",
        retry={"max_attempts": 0, "often": True},
        metadata={"a": {"b": ["\0"]}},
    )
    assert errors.keys() == {
        *("/subject", "/priority", "/tags/0", "/colour", "/recipient"),
        *("/retry/max_attempts", "/retry/often", "/metadata"),
    }
    assert not any("nobody" in text for text in errors.values())


def test_times_must_make_sense(project: Project) -> None:
    now = datetime.now(UTC)
    assert errors_of(project, scheduled_at=(now + timedelta(days=31)).isoformat()).keys() == {"/scheduled_at"}
    assert errors_of(project, expires_at=(now - timedelta(seconds=1)).isoformat()).keys() == {"/expires_at"}
    soon, later = (now + timedelta(hours=1)).isoformat(), (now + timedelta(hours=2)).isoformat()
    assert errors_of(project, expires_at=soon, scheduled_at=later).keys() == {"/expires_at"}


def test_a_message_must_not_outlive_its_content(project: Project, settings: Any) -> None:
    settings.CONTENT_RETENTION_DAYS = 2
    late = datetime.now(UTC) + timedelta(days=3)
    assert errors_of(project, scheduled_at=late.isoformat()).keys() == {"/scheduled_at"}


def test_one_small_request_cannot_fill_the_disk(project: Project) -> None:
    document = {"channel": "email", "content": {"text": "x" * 100_000}}
    with pytest.raises(Invalid) as caught:
        submit.submit(sender_of(project), {**document, "recipients": [f"u{n}@example.org" for n in range(1000)]})
    assert caught.value.errors[0].pointer == "/recipients"


def test_nothing_is_taken_while_the_clock_is_wrong(project: Project) -> None:
    clock.forget()
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=2)), pytest.raises(clock.ClockWrong):
        send(project)
    assert not Message.objects.exists()
    assert send(project)["status"] == "pending"


# --- the same request again


def key_for(project: Project, document: Any = DOCUMENT, name: str = "k") -> Key:
    return Key.of(project.pk, name, method="POST", path="/v1/notifications", document=document)


def test_the_same_key_and_body_gets_the_first_answer(project: Project) -> None:
    first = submit.submit(sender_of(project), DOCUMENT, key=key_for(project))
    other_spelling = dict(reversed(list(DOCUMENT.items())))
    again = submit.submit(sender_of(project), other_spelling, key=key_for(project, other_spelling))

    assert again["id"] == str(first["id"])
    assert Message.objects.count() == 1
    assert "ada@example.org" not in str(IdempotencyKey.objects.get().response)


def test_the_same_key_with_another_body_is_refused(project: Project) -> None:
    submit.submit(sender_of(project), DOCUMENT, key=key_for(project))
    other = {**DOCUMENT, "subject": "Other"}
    with pytest.raises(Reused):
        submit.submit(sender_of(project), other, key=key_for(project, other))
    assert Message.objects.count() == 1


def test_a_key_is_forgotten_after_a_day_and_is_each_projects_own(project: Project) -> None:
    submit.submit(sender_of(project), DOCUMENT, key=key_for(project))
    other = make_project()
    make_account(other)
    submit.submit(sender_of(other), DOCUMENT, key=key_for(other))
    assert Message.objects.count() == 2

    IdempotencyKey.objects.update(created_at=datetime.now(UTC) - timedelta(hours=24, minutes=1))
    submit.submit(sender_of(project), DOCUMENT, key=key_for(project))
    assert Message.objects.count() == 3
    assert IdempotencyKey.objects.filter(project=project, created_at__gt=datetime.now(UTC) - timedelta(1)).count() == 1


def test_a_refused_request_leaves_its_key_unused(project: Project) -> None:
    wrong = {**DOCUMENT, "recipient": "nobody"}
    with pytest.raises(Invalid):
        submit.submit(sender_of(project), wrong, key=key_for(project, wrong))
    assert submit.submit(sender_of(project), DOCUMENT, key=key_for(project))["status"] == "pending"


def at_once(number: int, function: Any) -> list[Any]:
    """Call it in so many threads, each with its own connection, all released at the same moment."""
    results: list[Any] = []
    gate = threading.Barrier(number)

    def run() -> None:
        connection.ensure_connection()
        gate.wait(timeout=20)
        try:
            results.append(function())
        except Exception as error:
            results.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_with_one_key_make_one_message(project: Project) -> None:
    for round_ in range(5):
        key = key_for(project, name=f"race-{round_}")
        answers = at_once(8, partial(submit.submit, sender_of(project), DOCUMENT, key=key))
        assert len({str(answer["id"]) for answer in answers}) == 1, answers
        assert Message.objects.count() == Event.objects.count() == QueueRow.objects.count() == round_ + 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_with_one_key_and_different_bodies(project: Project) -> None:
    bodies = iter([{**DOCUMENT, "subject": str(number)} for number in range(6)])
    lock = threading.Lock()

    def one() -> Any:
        with lock:
            body = next(bodies)
        return submit.submit(sender_of(project), body, key=key_for(project, body))

    answers = at_once(6, one)
    assert sorted(type(answer).__name__ for answer in answers) == ["Reused"] * 5 + ["dict"]
    assert Message.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_missing_partition_is_made_and_nothing_is_refused(project: Project) -> None:
    this_week = partitions.week_start(datetime.now(UTC))
    for partition in partitions.existing():
        if partition.starts == this_week:
            partitions.drop(partition)

    answers = at_once(4, lambda: send(project))
    assert [answer["status"] if isinstance(answer, dict) else repr(answer) for answer in answers] == ["pending"] * 4
    assert Message.objects.count() == Content.objects.count() == Event.objects.count() == 4
    names = {partition.name for partition in partitions.existing()}
    assert partitions.name_of("message", this_week) in names
