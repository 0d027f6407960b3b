"""Bulk operations: the dry run, one of a kind, done exactly once to exactly what was meant, killed workers included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django_q.models import OrmQ

from dashboard import bulk, bulk_work, dry_run, scope, tasks
from dashboard.models import BulkItem, BulkKind, BulkOperation
from tests import database
from tests.builders import make_account, make_message, make_project
from tests.tracking.lives import fail, status_of
from tracking import jobs, selection
from tracking.models import Event, Message, QueueRow
from tracking.services import act, route
from tracking.services.record import Source

pytestmark = pytest.mark.django_db
FAST = 10_000.0


@pytest.fixture
def project():
    found = make_project()
    make_account(found, price_per_part=Decimal("0.01"), weight=500)
    return found


@pytest.fixture
def user():
    return User.objects.create(username="grace")


def failed(project, count: int) -> list:
    keys = [make_message(project) for _ in range(count)]
    for key in keys:
        fail(key)
    return keys


def start(user, query: str, kind: BulkKind = BulkKind.RETRY, **kw) -> BulkOperation:
    values = {"seen_at": datetime.now(UTC), "reason": "outage", "rate": FAST, "token": uuid4(), **kw}
    return bulk.start(kind=kind, query=query, user=user, **values)[0]


def finish(operation: BulkOperation) -> BulkOperation:
    bulk_work.work(seconds=30)
    operation.refresh_from_db()
    return operation


def retries(keys) -> dict:
    return {key: Event.objects.filter(message_id=key, kind="operator_retry").count() for key in keys}


# --- the dry run


def test_the_dry_run_counts_samples_and_says_the_cost(project):
    failed(project, 3)
    make_message(project)
    made = bulk.plan(scope.read(f"project={project.pk}"), BulkKind.RETRY)
    assert (made.matched, made.possible, made.exact) == (4, 3, True)
    assert made.statuses == {"failed": 3, "pending": 1}
    assert [message.status for message in made.sample] == ["failed"] * 3
    (cost,) = made.costs
    assert (cost.messages, cost.amount, cost.currency) == (3, Decimal("0.03"), "EUR")
    other = make_account(project)
    (unpriced,) = bulk.plan(scope.read(""), BulkKind.RETRY_VIA, via=other).costs
    assert (unpriced.account, unpriced.amount) == (other.code, None)
    assert bulk.plan(scope.read(""), BulkKind.CANCEL).possible == 1


def test_the_dry_run_looks_a_bounded_way(project, monkeypatch):
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 2)
    monkeypatch.setattr(dry_run, "STEPS", 2)
    failed(project, 6)
    made = bulk.plan(scope.read(""), BulkKind.RETRY)
    assert (made.matched, made.exact) == (4, False)
    assert made.counted.looked_to is not None


# --- one of a kind


def test_the_same_form_twice_and_two_operators_with_one_scope_make_one_operation(project, user):
    failed(project, 2)
    other = User.objects.create(username="alan")
    values = {"kind": BulkKind.RETRY, "seen_at": datetime.now(UTC), "reason": "r", "rate": FAST}
    token = uuid4()
    one, new = bulk.start(query="status=failed&time=24h", user=user, token=token, **values)
    assert new
    assert bulk.start(query="status=failed&time=24h", user=user, token=token, **values) == (one, False)
    assert bulk.start(query="time=24h&status=failed", user=other, token=uuid4(), **values) == (one, False)
    finish(one)
    assert bulk.start(query="status=failed&time=24h", user=user, token=token, **values) == (one, False)
    assert bulk.start(query="status=failed&time=24h", user=other, token=uuid4(), **values)[1]


# --- doing it


def test_everything_that_matched_is_retried_once_with_who_and_why(project, user):
    keys = failed(project, 30)
    bystander = make_message(project)
    operation = finish(start(user, f"project={project.pk}"))
    assert (operation.state, operation.total, operation.done) == ("done", 30, 30)
    assert set(retries(keys).values()) == {1}
    assert status_of(bystander) == "pending" and not retries([bystander])[bystander]
    event = Event.objects.filter(message_id=keys[0], kind="operator_retry").get()
    assert event.detail == {"user": "grace", "bulk_operation": operation.pk, "why": "outage"}
    assert set(BulkItem.objects.values_list("outcome", flat=True)) == {"done"}


def test_a_selection_is_a_scope_too(project, user):
    keys = failed(project, 4)
    operation = finish(start(user, f"ids={keys[0]},{keys[2]}"))
    assert operation.total == 2
    assert retries(keys) == {keys[0]: 1, keys[1]: 0, keys[2]: 1, keys[3]: 0}


def test_cancel_and_retry_via(project, user):
    waiting = [make_message(project) for _ in range(3)]
    assert finish(start(user, "status=pending", BulkKind.CANCEL)).done == 3
    assert {status_of(key) for key in waiting} == {"cancelled"}
    keys = failed(project, 2)
    other = make_account(project, weight=1)
    stranger = make_account()
    route.forget()
    assert finish(start(user, "status=failed", BulkKind.RETRY_VIA, account_id=stranger.pk)).refused == 2
    assert finish(start(user, "status=failed", BulkKind.RETRY_VIA, account_id=other.pk)).done == 2
    assert set(QueueRow.objects.filter(pk__in=keys).values_list("account_id", flat=True)) == {other.pk}


def test_a_message_that_changed_after_it_was_collected_is_left_alone(project, user, monkeypatch):
    keys = failed(project, 3)
    operation = start(user, "status=failed")
    bulk_work._step(operation.pk)
    act.retry(keys[1], source=Source("admin"))
    QueueRow.objects.filter(pk=keys[1]).delete()
    fail(keys[1])
    assert status_of(keys[1]) == "failed"
    operation = finish(operation)
    assert (operation.done, operation.changed) == (2, 1)
    assert "changed meanwhile" in BulkItem.objects.get(message_id=keys[1]).text
    assert retries(keys)[keys[1]] == 1


def test_messages_that_come_after_the_dry_run_are_not_meant(project, user):
    seen_at = datetime.now(UTC)
    time.sleep(0.002)
    failed(project, 1)
    operation = finish(start(user, "status=failed", seen_at=seen_at))
    assert (operation.state, operation.total) == ("done", 0)


def test_collecting_goes_in_bounded_steps(project, user, monkeypatch):
    monkeypatch.setattr(selection, "LOOKED_THROUGH", 3)
    keys = failed(project, 8)
    assert finish(start(user, "status=failed")).done == 8
    assert set(retries(keys).values()) == {1}


def test_pause_resume_cancel(project, user, monkeypatch):
    monkeypatch.setattr(bulk_work, "CHUNK", 2)
    keys = failed(project, 6)
    operation = start(user, "status=failed")
    for _ in range(2):
        bulk_work._step(operation.pk)
    assert bulk.pause(operation.pk) and not bulk.pause(operation.pk)
    assert finish(operation).done == 2
    assert bulk.resume(operation.pk) and not bulk.resume(operation.pk)
    bulk_work._step(operation.pk)
    assert bulk.cancel(operation.pk) and not bulk.cancel(operation.pk)
    operation = finish(operation)
    assert (operation.state, operation.done, operation.handled) == ("cancelled", 4, 4)
    assert sum(retries(keys).values()) == 4
    assert not bulk.resume(operation.pk)


def test_the_rate_is_a_cap(project, user):
    failed(project, 12)
    began = time.monotonic()
    operation = finish(start(user, "status=failed", rate=20.0))
    assert operation.done == 12
    assert time.monotonic() - began >= 0.5  # the first chunk is 10


def test_a_scope_whose_account_is_gone_ends_with_the_reason(project, user):
    gone = make_account()
    operation = start(user, f"account={gone.pk}")
    gone.delete()
    operation = finish(operation)
    assert operation.state == "cancelled"
    assert "not valid any more" in operation.fault


def test_one_message_that_breaks_does_not_hold_up_the_others(project, user, monkeypatch):
    keys = failed(project, 3)
    retry = act.retry

    def break_one(key, **kw):
        retry(key, **kw)
        if key == keys[1]:
            raise ValueError("broken")

    monkeypatch.setattr(act, "retry", break_one)
    operation = finish(start(user, "status=failed"))
    assert (operation.done, operation.refused) == (2, 1)
    assert retries(keys)[keys[1]] == 0


def test_slices_hand_on_and_the_tick_starts_what_nobody_works_on(project, user, monkeypatch):
    monkeypatch.setattr(tasks, "SLICE", 0.0)
    failed(project, 2)
    start(user, "status=failed")
    OrmQ.objects.all().delete()
    tasks.bulk_tick()
    assert OrmQ.objects.count() == 1
    tasks.bulk_slice()
    assert OrmQ.objects.count() == 2
    bulk_work.work(seconds=10)
    OrmQ.objects.all().delete()
    tasks.bulk_slice()
    tasks.bulk_tick()
    assert OrmQ.objects.count() == 0
    assert "bulk_tick" in {job.task for job in jobs.JOBS}


# --- killed

WORKER = """
import time, django; django.setup()
from dashboard import bulk_work
print("up", flush=True)
until = time.monotonic() + 30
while not bulk_work.work(seconds=60) and time.monotonic() < until:
    time.sleep(0.02)  # PostgreSQL may notice a moment later that the worker before is gone
"""


@pytest.mark.django_db(transaction=True)
def test_workers_killed_in_the_middle_do_nothing_twice_and_leave_nothing_out():
    project = make_project()
    make_account(project)
    keys = failed(project, 150)
    operation = start(User.objects.create(username="grace"), f"project={project.pk}")
    connections.close_all()
    kills = 0
    for moment in (0.02, 0.11, 0.05, 0.17, 0.23):
        worker = _worker()
        time.sleep(moment)  # not to hide a race: to kill at different moments
        kills += worker.poll() is None
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    worker = _worker()
    assert worker.wait(60) == 0
    operation.refresh_from_db()
    assert kills >= 2
    assert (operation.state, operation.total, operation.done) == ("done", 150, 150)
    assert set(retries(keys).values()) == {1}
    assert Message.objects.filter(status="pending", operator_retries=1).count() == 150
    assert QueueRow.objects.count() == 150


def _worker() -> subprocess.Popen[str]:
    environment = {**os.environ, "DATABASE_URL": database.url(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    worker = subprocess.Popen([sys.executable, "-c", WORKER], env=environment, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None and worker.stdout.readline() == "up\n"
    return worker
