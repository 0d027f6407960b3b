"""The recount finds what was changed behind `record`, and nothing while traffic goes on."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from providers.base import FailureClass
from providers.models import ProviderAccount
from tests.builders import make_account, make_project
from tests.tracking.lives import queue_message
from tracking import ids
from tracking.models import Attempt, Event, Message, MetricDelta, QueueRow, Unmatched
from tracking.services import check, rollup
from tracking.services.record import DISPATCH, Record
from tracking.statuses import Decision, Fact, FactKind

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account() -> ProviderAccount:
    return make_account(make_project())


def message(account: ProviderAccount, *facts: FactKind) -> UUID:
    """One that was handed over and of which the given is known."""
    with transaction.atomic():
        message_id = queue_message(make_project(), account)
        work = Record([message_id])
        row = work.messages[message_id]
        attempt = work.start_attempt(row, account_id=account.pk, idempotency_key="key")
        attempt.finished_at = work.now
        for kind in facts:
            fact = Fact(kind, work.now, FailureClass.TEMPORARY if kind is FactKind.FAILED else None)
            work.add_fact(row, attempt, fact, key=kind, source=DISPATCH)
        work.save()
        QueueRow.objects.filter(pk=message_id).delete()
    return message_id


def found(chunk: int = 2) -> list[str]:
    return [str(difference) for difference in check.differences(chunk)]


def test_nothing_where_nothing_is() -> None:
    assert found() == []


def test_nothing_where_all_agrees_in_chunks_of_any_size(account: ProviderAccount) -> None:
    for kinds in ([FactKind.ACCEPTED], [FactKind.READ], [FactKind.FAILED], [FactKind.BOUNCED]):
        message(account, *kinds)
    queue_message(make_project(), account)
    for chunk in (1, 2, 5, 1000):
        assert found(chunk) == []


def test_a_status_that_its_facts_do_not_say(account: ProviderAccount) -> None:
    message_id = message(account, FactKind.ACCEPTED)
    Message.objects.filter(pk=message_id).update(status="failed")
    told = found()
    assert told[0].startswith(f"message {message_id}: is failed ") and "its facts say sent " in told[0]
    assert any(line.startswith("metric_hour ") for line in told[1:])


def test_an_attempt_that_is_missing(account: ProviderAccount) -> None:
    message_id = message(account, FactKind.ACCEPTED)
    Attempt.objects.filter(message_id=message_id).delete()
    assert f"message {message_id}: says 1 attempts, has []" in found()


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("wrong", [1, -1])
def test_a_metric_that_the_rows_do_not_say(account: ProviderAccount, wrong: int, folded: bool) -> None:
    for _ in range(3):
        message(account, FactKind.DELIVERED)
    delta: Any = MetricDelta.objects.filter(counts__has_key="delivered").first()
    bucket = {name: getattr(delta, name) for name in ("minute", "project_id", "channel", "account_id")}
    MetricDelta.objects.create(**bucket, counts={"delivered": wrong})
    if folded:
        rollup.fold_all()
    where = f"{delta.project_id} email {account.pk}: lacks delivered {-wrong}"
    told = found()
    assert all(line.endswith(where) for line in told)
    assert [line.split()[0] for line in told] == ["metric_block", "metric_hour", "metric_quarter", "metric_minute"]


@pytest.mark.parametrize("table", ["metric_block", "metric_hour", "metric_quarter", "metric_minute"])
def test_a_rollup_that_was_changed(account: ProviderAccount, table: str) -> None:
    for _ in range(3):
        message(account, FactKind.DELIVERED)
    rollup.fold_all()
    assert found() == []
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET sent = coalesce(sent, 0) + 5")
    told = found()
    assert told and all(line.startswith(table) or line.startswith("metric_block") for line in told)
    now = datetime.now(UTC)
    list(rollup.rebuild(now - timedelta(hours=1), now))
    assert found() == []


def test_deltas_of_a_message_that_is_gone(account: ProviderAccount) -> None:
    message_id = message(account, FactKind.DELIVERED)
    Message.objects.filter(pk=message_id).delete()
    told = found()
    assert f"attempt {message_id}: there is no such message" in told
    assert f"event {message_id}: there is no such message" in told
    assert f"content {message_id}: there is no such message" in told
    assert sum(line.startswith("metric_hour ") for line in told) == 1


def test_orphans_are_found_wherever_a_chunk_ends(account: ProviderAccount) -> None:
    keep = [message(account, FactKind.DELIVERED, FactKind.READ) for _ in range(3)]
    stray = ids.new()
    Event.objects.filter(message_id=keep[1], dedupe_key="read").update(message_id=stray)
    for chunk in (1, 2, 3, 100):
        assert f"event {stray}: there is no such message" in found(chunk)


def test_what_waits_and_is_not_queued(account: ProviderAccount) -> None:
    message_id = queue_message(make_project(), account)
    QueueRow.objects.all().delete()
    assert found() == [f"message {message_id}: waits to be sent, but is not queued"]


def test_what_is_being_handed_over_by_nobody(account: ProviderAccount) -> None:
    message_id = message(account)
    assert found() == [f"message {message_id}: is being handed over, but nobody holds its lease"]


def test_what_is_queued_and_does_not_wait(account: ProviderAccount) -> None:
    message_id = message(account, FactKind.DELIVERED)
    row = QueueRow.objects.create(message_id=message_id, project_id=1, account_id=account.pk, due_at=datetime.now(UTC))
    assert found() == [f"message {message_id}: is delivered, but queued"]
    row.lease_token, row.lease_until = uuid4(), datetime.now(UTC) + timedelta(minutes=1)
    row.save()
    assert found() == [f"message {message_id}: is delivered and not being handed over, but leased"]


def test_a_lease_that_nobody_took_up(account: ProviderAccount) -> None:
    message_id = queue_message(make_project(), account)
    with transaction.atomic():
        work = Record([message_id])
        work.start_attempt(work.messages[message_id], account_id=account.pk, idempotency_key="key")
        work.save()
    for seconds, count in ((30, 0), (150, 1)):
        until = datetime.now(UTC) - timedelta(seconds=seconds)
        QueueRow.objects.update(lease_token=uuid4(), lease_until=until)
        assert len(found()) == count
    assert found()[0].startswith(f"queue {message_id}: its lease ended at ")


def test_a_queue_row_without_a_message(account: ProviderAccount) -> None:
    stray = ids.new()
    QueueRow.objects.create(message_id=stray, project_id=1, account_id=account.pk, due_at=datetime.now(UTC))
    assert found() == [f"queue {stray}: there is no such message"]


def test_it_may_run_beside_traffic(account: ProviderAccount) -> None:
    for _ in range(20):
        message(account, FactKind.ACCEPTED)
    stop, turns, failed = threading.Event(), [0], []

    def traffic() -> None:
        try:
            while not stop.is_set():
                message_id = message(account, FactKind.ACCEPTED)
                with transaction.atomic():
                    work = Record([message_id])
                    row = work.messages[message_id]
                    work.add_fact(row, row.tries[0], Fact(FactKind.READ, work.now), key="later", source=DISPATCH)
                    work.save()
                turns[0] += 1
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        looked = [found(chunk) for chunk in (3, 7, 100, 3, 7)]
    finally:
        stop.set()
        thread.join(30)
    assert failed == [] and turns[0] > 5
    assert [line for lines in looked for line in lines] == []


def test_the_command_reports_and_its_exit_code_says_whether_all_is_well(account: ProviderAccount) -> None:
    message_id = message(account, FactKind.ACCEPTED)
    out = StringIO()
    call_command("check_invariants", stdout=out)
    assert out.getvalue() == "everything agrees\n"
    with transaction.atomic():
        work = Record([message_id])
        work.decide(work.messages[message_id], Decision.GIVE_UP, source=DISPATCH)
        work.save()
    call_command("check_invariants", stdout=out)
    Message.objects.filter(pk=message_id).update(status="read")
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("check_invariants", "--show", "1", stdout=out)
    lines = out.getvalue().splitlines()
    assert ended.value.code == 1 and len(lines) == 2
    assert lines[0].startswith(f"message {message_id}: is read ") and lines[1].endswith(" differences")


def test_receipts_without_a_message_are_counted(account: ProviderAccount) -> None:
    now = datetime.now(UTC)
    for number, due in enumerate((now, None, None)):
        Unmatched.objects.create(
            account=account, inbound_id=ids.new(), item=number, receipt={}, why="x", received_at=now, next_try_at=due
        )
    out = StringIO()
    call_command("check_invariants", stdout=out)
    assert "receipts without a message: 1 are tried again, 2 are not any more" in out.getvalue()
