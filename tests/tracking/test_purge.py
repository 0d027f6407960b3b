"""What is past its retention goes, by partitions or rows; what must stay stays; the metrics outlive it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from providers.models import ProviderAccount
from tests import database
from tests.builders import make_account, make_endpoint, make_key, make_project
from tests.tracking.aged import make_old, weeks_ago
from tests.tracking.lives import fail, until_waited_for
from tests.tracking.test_api_notifications import Api
from tests.tracking.test_partitions import Traffic, long_reader
from tracking import ids, metrics, partitions, tasks
from tracking.models import (
    Attempt,
    Content,
    Delivery,
    DeliveryAttempt,
    Event,
    Export,
    Inbound,
    Message,
    MetricKept,
    Project,
    PurgeRun,
    QueueRow,
    Retention,
    Unmatched,
)
from tracking.services import bulk_status, check, export_work, purge, purge_late, purge_plan, purge_rows, rollup
from tracking.services.record import Record, Source
from tracking.statuses import Decision, Fact, FactKind

pytestmark = pytest.mark.django_db(transaction=True)
LONG = timedelta(days=3000)


@pytest.fixture(autouse=True)
def old_weeks_end_with_the_test() -> Iterator[None]:
    yield
    fresh = partitions.week_start(datetime.now(UTC)) - partitions.WEEK
    partitions.drop(*(each for each in partitions.existing() if each.starts < fresh))


@pytest.fixture
def project() -> Project:
    found = make_project()
    Project.objects.filter(pk=found.pk).update(created_at=datetime.now(UTC) - LONG)
    return found


@pytest.fixture
def account(project: Project) -> ProviderAccount:
    return make_account(project)


def keep(project: Project, days: int, content_days: int | None = None, **kw: Any) -> None:
    values = {"plan": "custom", "days": days, "content_days": content_days or days, **kw}
    Retention.objects.update_or_create(project=project, defaults=values)


def run() -> PurgeRun:
    found = purge.start(by="test")
    assert found is not None
    while not purge.work(found.pk, seconds=20):
        pass
    found.refresh_from_db()
    assert found.finished_at and not found.error
    return found


def agrees() -> bool:
    rollup.fold_all()
    differences = [str(each) for each in check.differences(3)]
    assert differences == []
    return True


def settled() -> None:
    """All that was made until now is behind the horizon of a purge. Transactions of the server's other databases, such
    as those of tests beside these, hold it back as long as they last."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        made = cursor.fetchone()[0]
    deadline = time.monotonic() + 20
    while purge_late.horizon() < made:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def tables_of(week: datetime) -> set[str]:
    return set(partitions.by_week().get(partitions.week_start(week), {}))


def total(project: Project) -> Any:
    scope = metrics.Scope(datetime.now(UTC) - timedelta(days=400), datetime.now(UTC), project_ids={project.pk})
    return metrics.totals(scope)


# --- what goes


def test_a_week_that_every_project_is_past_is_dropped_whole(project: Project, account: ProviderAccount) -> None:
    old, kept = make_old(project, account, weeks_ago(15)), make_old(project, account, weeks_ago(3))
    before = total(project)
    done = run()
    assert not Message.objects.filter(pk=old).exists() and Message.objects.filter(pk=kept).exists()
    assert tables_of(weeks_ago(15)) == set()
    assert {name.split("_")[0] for name, *_ in done.dropped} >= {"message", "attempt", "event", "content"}
    assert agrees() and total(project) == before and before.delivered == 2


def test_content_goes_before_its_message(project: Project, account: ProviderAccount) -> None:
    key = make_old(project, account, weeks_ago(7))
    run()
    assert Message.objects.filter(pk=key).exists() and not Content.objects.filter(pk=key).exists()
    assert tables_of(weeks_ago(7)) == {"message", "attempt", "event"} and agrees()


def test_projects_with_different_policies_share_a_week(project: Project, account: ProviderAccount) -> None:
    other = make_project()
    keep(project, 30)
    keep(other, 200)
    late = weeks_ago(0) - timedelta(days=8)
    gone = [make_old(project, account, weeks_ago(10), late=late if n == 3 else None) for n in range(7)]
    kept = [make_old(other, account, weeks_ago(10)) for _ in range(2)]
    endpoint = make_endpoint(project)
    told = Delivery.objects.create(endpoint=endpoint, message_id=gone[0], event="x", payload={}, next_try_at=late)
    DeliveryAttempt.objects.create(delivery=told, at=late, milliseconds=1)
    rollup.fold_all()
    before, others = total(project), total(other)
    done = run()
    assert set(Message.objects.values_list("pk", flat=True)) == set(kept)
    for model in (Content, Attempt, Event):
        assert set(model.objects.values_list("message_id", flat=True)) == set(kept), model
    assert not Delivery.objects.exists() and not DeliveryAttempt.objects.exists()
    assert done.counts[project.code] == {
        **{"message": 7, "content": 7, "attempt": 8, "webhook_delivery": 1},
        "event": done.counts[project.code]["event"],
    }
    assert any("1 other project keeps messages in it" in text for text in done.held)
    assert MetricKept.objects.count() == 1  # the late attempt, in a week that is compared
    assert agrees() and total(project) == before and total(other) == others
    assert run().counts == {}
    keep(other, 30)
    run()
    assert tables_of(weeks_ago(10)) == set()
    assert agrees() and total(project) == before and total(other) == others


def test_content_alone_goes_by_rows_where_another_project_keeps_its_own(
    project: Project, account: ProviderAccount
) -> None:
    other = make_project()
    keep(project, 365, 14)
    keep(other, 365, 365)
    mine, theirs = make_old(project, account, weeks_ago(5)), make_old(other, account, weeks_ago(5))
    assert run().counts == {project.code: {"content": 1}}
    assert Message.objects.count() == 2
    assert list(Content.objects.values_list("pk", flat=True)) == [theirs] and mine != theirs
    assert not list(purge_plan.steps(datetime.now(UTC))) and agrees()


def test_which_projects_have_a_part_in_a_week_is_asked_without_reading_it(
    project: Project, account: ProviderAccount
) -> None:
    """Also of a project that has nothing in it, which the planner expects to find at once."""
    make_project()
    key = make_old(project, account, weeks_ago(10))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO message SELECT (jsonb_populate_record(m, jsonb_build_object('id', overlay(m.id::text placing"
            " lpad(to_hex(n), 12, '0') from 25)))).* FROM message m, generate_series(1, 5000) n WHERE m.id = %s",
            [key],
        )
        cursor.execute("ANALYZE message")
        week = partitions.week_start(weeks_ago(10))
        bounds = [ids.floor(week), ids.floor(week + partitions.WEEK)]
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {purge_plan.HAVE_MESSAGES}", [*bounds, []])
        (shown,) = cursor.fetchone()
    plan = (shown if isinstance(shown, list) else json.loads(shown))[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 30
    assert purge_plan.projects_in(week) == [project.pk]


# --- what must stay


def test_a_queue_row_keeps_its_partition_and_its_message(project: Project, account: ProviderAccount) -> None:
    final, queued = make_old(project, account, weeks_ago(20)), make_old(project, account, weeks_ago(20))
    QueueRow.objects.create(message_id=queued, project_id=project.pk, account_id=account.pk, due_at=datetime.now(UTC))
    for _ in range(2):
        assert "some of its messages are queued" in " ".join(run().held)
    assert list(Message.objects.values_list("pk", flat=True)) == [queued] and final != queued
    assert Content.objects.filter(pk=queued).exists() and Attempt.objects.filter(message_id=queued).exists()


def test_what_is_not_final_stays_and_counts_when_it_moves_on(project: Project, account: ProviderAccount) -> None:
    make_old(project, account, weeks_ago(20))
    waits = make_old(project, account, weeks_ago(20), facts=(), decision=Decision.QUEUE)  # its queue row is lost
    assert Message.objects.get(pk=waits).status == "pending"
    assert "not final" in " ".join(run().held)
    assert list(Message.objects.values_list("pk", flat=True)) == [waits]
    fail(waits)  # its attempt starts now, in a week that is compared
    assert agrees()
    run()
    assert not Message.objects.exists() and agrees()


def test_raw_requests_have_a_retention_of_their_own(account: ProviderAccount) -> None:
    old, unread = weeks_ago(9), weeks_ago(8)
    for at, state in ((old, "done"), (unread, "new")):
        partitions.ensure(at, at)
        request = Inbound.objects.create(
            id=ids.floor(at), account=account, method="POST", url="x", headers={}, body=b"{}", state=state
        )
        stray = {"account": account, "inbound_id": request.pk, "item": 0, "receipt": {}, "why": "x"}
        Unmatched.objects.create(**stray, received_at=at)
    done = run()
    assert list(Inbound.objects.values_list("state", flat=True)) == ["new"]
    assert [ids.time_of(each.inbound_id) for each in Unmatched.objects.all()] == [unread]
    assert any("not read yet" in text for text in done.held)


def test_nothing_goes_before_its_time(project: Project, account: ProviderAccount, settings: Any) -> None:
    """A week goes once its last message is as old as the policy says, not a day earlier."""
    keep(project, 30)
    week = partitions.week_start(datetime.now(UTC)) - timedelta(weeks=6)
    make_old(project, account, week)
    ends = week + partitions.WEEK + timedelta(days=30)
    settings.INBOUND_RETENTION_DAYS = 5
    kinds = [[step.kind for step in purge_plan.steps(at)] for at in (ends - timedelta(seconds=1), ends)]
    assert kinds == [["inbound"], ["message", "inbound"]]


# --- beside everything else


def test_a_long_reader_puts_the_drop_off_and_stops_no_intake(
    project: Project, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "TRIES", 1)
    make_old(project, account, weeks_ago(15))
    traffic = Traffic(project, account)
    with long_reader(), traffic:
        done = run()
    assert traffic.error is None and traffic.turns > 3 and traffic.longest < 1.5
    assert any("somebody reads it" in text for text in done.held)
    assert agrees()  # whatever is left of the week is on its way out
    tasks.ensure_partitions()
    assert tables_of(weeks_ago(15)) == set() and agrees()


@pytest.mark.processes
def test_a_purge_that_is_killed_in_the_middle_goes_on(
    project: Project, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_project()
    keep(project, 30)
    keep(other, 300)
    make_old(other, account, weeks_ago(10))
    for _ in range(60):
        make_old(project, account, weeks_ago(10))
    make_old(other, account, weeks_ago(50))
    before = total(project)
    program = (
        "import django; django.setup()\n"
        "from tracking.services import purge, purge_rows\n"
        "purge_rows.CHUNK = 5\n"
        "run = purge.start(by='killed')\n"
        "print(run.pk, flush=True)\n"
        "import time\n"
        "step = purge._count\n"
        "def slow(*a):\n    step(*a); print('chunk', flush=True); time.sleep(0.2)\n"
        "purge._count = slow\n"
        "purge.work(run.pk, seconds=60)\n"
    )
    environment = {**os.environ, "DATABASE_URL": database.url(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=configured.BASE_DIR, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    number = int(process.stdout.readline())
    for _ in range(3):
        assert process.stdout.readline() == "chunk\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = Message.objects.filter(project=project).count()
    assert 0 < left < 60 and left % 5 == 0
    assert agrees()
    assert purge.start(by="another") is None
    monkeypatch.setattr(purge, "STALE", timedelta(0))
    deadline = time.monotonic() + 20
    while not purge.work(number, seconds=20) or PurgeRun.objects.filter(finished_at=None).exists():
        assert time.monotonic() < deadline and purge.abandoned() == [number]
    assert not Message.objects.filter(project=project).exists()
    assert tables_of(weeks_ago(50)) == set() and agrees() and total(project) == before


def test_the_nightly_job_works_in_slices(
    project: Project, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_project()
    keep(project, 30)
    for _ in range(4):
        make_old(project, account, weeks_ago(10))
    make_old(other, account, weeks_ago(10))
    monkeypatch.setattr(purge_rows, "CHUNK", 2)
    monkeypatch.setattr(tasks, "SLICE", 0.0)
    later: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tasks.jobs, "later", lambda *task: later.append(task))
    tasks.nightly_purge()
    (found,) = PurgeRun.objects.all()
    assert later == [("tracking.tasks.purge", found.pk)] and found.finished_at is None
    while later:
        _, number = later.pop()
        tasks.purge(number)
    found.refresh_from_db()
    assert found.finished_at and found.counts[project.code]["message"] == 4
    monkeypatch.setattr(purge, "_slice", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tasks.nightly_purge()
    assert PurgeRun.objects.first().error == "ZeroDivisionError"


# --- what is said of it


def test_purged_ids_are_answered_purged(project: Project, account: ProviderAccount) -> None:
    api = Api(make_key(project))
    key = make_old(project, account, weeks_ago(15))
    run()
    unknown, random = ids.new(), uuid4()
    found = bulk_status.statuses(project.pk, [str(key), str(unknown), str(random)], since=datetime.now(UTC) - LONG)
    assert [each["reason"] for each in found] == ["purged", "not_found", "not_found"]
    receipts = (f"notifications/{key}/receipts", f"notifications/{key}/receipts/read")
    for path in (f"notifications/{key}", f"notifications/{key}/events", *receipts):
        gone = api.get(path)
        assert gone.status_code == 410 and gone.json()["type"] == "urn:postroom:purged"
        assert api.get(path.replace(str(key), str(unknown))).status_code == 404
    assert api.post(receipts[0], {"user_id": "ada", "status": "read"}).status_code == 410
    for deed in ("retry", "cancel"):
        answer = api.post(f"notifications/{key}/{deed}", {})
        assert answer.status_code == 409 and "purged" in answer.json()["detail"]
        assert api.post(f"notifications/{unknown}/{deed}", {}).status_code == 404
    keep(project, 3000)  # a policy that keeps longer brings nothing back
    assert api.get(f"notifications/{key}").status_code == 410


def test_a_retry_of_purged_content_is_refused(project: Project, account: ProviderAccount) -> None:
    key = make_old(project, account, weeks_ago(7), facts=(FactKind.FAILED,))
    fail(key)
    run()
    answer = Api(make_key(project)).post(f"notifications/{key}/retry", {})
    assert answer.status_code == 409 and "purged" in answer.json()["detail"]


def test_the_dry_run_says_what_would_go_and_changes_nothing(project: Project, account: ProviderAccount) -> None:
    other = make_project()
    keep(project, 30)
    keep(other, 300)
    for _ in range(3):
        make_old(project, account, weeks_ago(10))
    make_old(other, account, weeks_ago(10))
    make_old(project, account, weeks_ago(20))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE message, attempt, event, content")
    out = StringIO()
    call_command("purge", "--dry-run", stdout=out)
    told = out.getvalue()
    assert "not dropped whole: 1 other project keeps messages in it" in told
    assert f"{project.code}: 3 messages" in told and f"{project.code}: 1 messages" in told
    assert "is dropped whole" in told and "attempt 3" in told
    assert Message.objects.count() == 5 and not PurgeRun.objects.exists()
    out = StringIO()
    call_command("purge", stdout=out)
    assert f"deleted of {project.code}: " in out.getvalue() and "dropped message_" in out.getvalue()
    purge.start(by="somebody else")
    with pytest.raises(CommandError, match="at work"):
        call_command("purge")


# --- export before purge


def archived(directory: Path) -> list[dict[str, Any]]:
    files = sorted(directory.glob("*.jsonl.gz"))
    return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


@pytest.mark.parametrize("shared", [False, True])
def test_the_purge_waits_for_its_export(
    project: Project, account: ProviderAccount, settings: Any, tmp_path: Path, shared: bool
) -> None:
    settings.PURGE_EXPORT_DIR = str(tmp_path / "archive")
    keep(project, 30, export_first=True)
    if shared:
        make_old(make_project(), account, weeks_ago(10))
    keys = [make_old(project, account, weeks_ago(10)) for _ in range(3)]
    settled()
    found = purge.start(by="test")
    assert found is not None and purge.work(found.pk, seconds=20)
    found.refresh_from_db()
    assert found.finished_at is None and "is being made" in " ".join(found.held)
    assert Message.objects.filter(project=project).count() == 3
    assert purge.work(found.pk, seconds=20) and Export.objects.count() == 1  # it is asked for once
    assert export_work.work(seconds=20)
    assert purge.work(found.pk, seconds=20)
    found.refresh_from_db()
    assert found.finished_at and not Message.objects.filter(project=project).exists()
    assert sorted(row["id"] for row in archived(tmp_path / "archive")) == sorted(map(str, keys))
    assert Export.objects.get().expires_at is None
    assert run().held == found.held[1:] or shared
    assert Export.objects.count() == 1  # nothing is left to be exported


def exported_and_waiting(project: Project) -> PurgeRun:
    """A purge whose export is complete, and that has deleted nothing yet."""
    settled()
    found = purge.start(by="test")
    assert found is not None and purge.work(found.pk, seconds=20)
    assert export_work.work(seconds=20)
    return found


def ids_of(directory: Path) -> set[str]:
    return {row["id"] for row in archived(directory)}


@pytest.mark.parametrize("shared", [False, True])
def test_what_becomes_final_after_the_export_waits_for_the_next_one(
    project: Project, account: ProviderAccount, settings: Any, tmp_path: Path, shared: bool
) -> None:
    """By rows and by partition: in the end its week would be dropped whole, where no other project has a part in it."""
    settings.PURGE_EXPORT_DIR = str(tmp_path)
    keep(project, 30, export_first=True)
    if shared:
        make_old(make_project(), account, weeks_ago(10))
    covered = {str(make_old(project, account, weeks_ago(10))) for _ in range(3)}
    late = make_old(project, account, weeks_ago(10), facts=(), decision=Decision.QUEUE)
    found = exported_and_waiting(project)
    assert ids_of(tmp_path) == covered
    fail(late)
    assert Message.objects.get(pk=late).status == "failed"
    assert purge.work(found.pk, seconds=20)
    found.refresh_from_db()
    assert found.finished_at and "stays what changed after its export" in " ".join(found.held)
    assert list(Message.objects.filter(project=project).values_list("pk", flat=True)) == [late]
    assert Attempt.objects.filter(message_id=late).exists() and Event.objects.filter(message_id=late).exists()

    found = exported_and_waiting(project)
    assert purge.work(found.pk, seconds=20)
    assert not Message.objects.filter(project=project).exists()
    assert ids_of(tmp_path) == {*covered, str(late)}
    assert next(row for row in archived(tmp_path) if row["id"] == str(late))["status"] == "failed"
    assert agrees()


def test_a_receipt_that_is_just_being_recorded_keeps_its_message(
    project: Project, account: ProviderAccount, settings: Any, tmp_path: Path
) -> None:
    """It came in before the purge began, and its transaction ends after the purge has come to its message."""
    settings.PURGE_EXPORT_DIR = str(tmp_path)
    keep(project, 30, export_first=True)
    make_old(make_project(), account, weeks_ago(10))
    covered, late = (make_old(project, account, weeks_ago(10)) for _ in range(2))
    received = datetime.now(UTC)
    found = exported_and_waiting(project)
    locked = threading.Event()

    def record() -> None:
        try:
            with transaction.atomic():
                work = Record([late], now=received)
                row = work.messages[late]
                # a machine's look at it: nothing of the message itself changes
                work.add_fact(
                    row, row.tries[0], Fact(FactKind.OPENED, received, machine=True), key="o", source=Source("provider")
                )
                work.save()
                locked.set()
                until_waited_for()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        recorded = thread.submit(record)
        assert locked.wait(20) and purge.work(found.pk, seconds=20)
        recorded.result()
    assert list(Message.objects.filter(project=project).values_list("pk", flat=True)) == [late]
    assert Event.objects.filter(message_id=late, dedupe_key="o").exists() and covered != late


def test_without_its_export_nothing_goes(
    project: Project, account: ProviderAccount, settings: Any, tmp_path: Path
) -> None:
    keep(project, 30, export_first=True)
    key = make_old(project, account, weeks_ago(10))
    assert "PURGE_EXPORT_DIR is not set" in " ".join(run().held)
    (tmp_path / "file").write_text("no directory")
    settings.PURGE_EXPORT_DIR = str(tmp_path / "file")
    found = purge.start(by="test")
    assert found is not None and purge.work(found.pk, seconds=20)
    Export.objects.update(state="failed", fault="The disk is full.")
    assert purge.work(found.pk, seconds=20)
    found.refresh_from_db()
    assert found.finished_at and "failed: The disk is full." in " ".join(found.held)
    assert Message.objects.filter(pk=key).exists()


@pytest.mark.parametrize("directory", [False, True])
def test_other_projects_do_not_suffer_for_an_export_that_cannot_be_made(
    project: Project, account: ProviderAccount, settings: Any, tmp_path: Path, directory: bool
) -> None:
    """There is no directory for it, or it failed: the week stays, but what others keep for a shorter time goes."""
    settings.PURGE_EXPORT_DIR = str(tmp_path) if directory else ""
    why = f"the export of {project.code} failed" if directory else f"{project.code}: to be exported first, but"
    keep(project, 30, export_first=True)
    other = make_project()
    keep(other, 30)
    mine, theirs = make_old(project, account, weeks_ago(10)), make_old(other, account, weeks_ago(10))
    (planned,) = [each for each in purge_plan.preview(datetime.now(UTC)) if each.step.kind == "message"]
    assert planned.projects == ({project.code: 1} if directory else {}) | {other.code: 1}
    assert planned.step.whole is directory and ("PURGE_EXPORT_DIR is not set" in planned.step.why) is not directory
    found = purge.start(by="test")
    assert found is not None and purge.work(found.pk, seconds=20)
    assert Export.objects.update(state="failed", fault="The disk is full.") == directory
    assert purge.work(found.pk, seconds=20)
    found.refresh_from_db()
    assert found.finished_at and why in " ".join(found.held)
    assert set(Message.objects.filter(pk__in=[mine, theirs]).values_list("pk", flat=True)) == {mine}
    assert Attempt.objects.filter(message_id=mine).exists() and not Attempt.objects.filter(message_id=theirs).exists()
    assert agrees()
    keep(project, 30, export_first=False)
    assert run().dropped and not Message.objects.filter(pk=mine).exists()
