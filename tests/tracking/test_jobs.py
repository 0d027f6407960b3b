"""What django-q2 is given to run, and what is kept of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django_q.models import OrmQ, Schedule

from tests.tracking import test_jobs
from tracking import jobs
from tracking.models import Heartbeat

pytestmark = pytest.mark.django_db
SECRET = "ada.marked@example.org"


def works() -> None:
    pass


def fails() -> None:
    raise ValueError(f"{SECRET} is not valid")


@pytest.fixture(autouse=True)
def declared(monkeypatch) -> None:
    module = test_jobs.__name__
    mine = [jobs.Job("works", 5, "works", module=module), jobs.Job("fails", 5, "fails", module=module)]
    monkeypatch.setattr(jobs, "JOBS", [*jobs.JOBS, *mine])


def test_the_last_run_of_a_job_is_kept():
    jobs.run(f"{test_jobs.__name__}.works")
    beat = Heartbeat.objects.get(name="job:works")
    assert beat.detail["fault"] == "" and beat.detail["seconds"] >= 0


def test_a_failure_is_kept_by_its_kind_alone(caplog):
    """django-q2 stores and logs the text of an error: it must not get the one that names a recipient."""
    with pytest.raises(jobs.TaskFailed) as failed:
        jobs.run(f"{test_jobs.__name__}.fails")
    assert str(failed.value) == "ValueError" and failed.value.__suppress_context__
    assert Heartbeat.objects.get(name="job:fails").detail["fault"] == "ValueError"
    assert "fails failed" in caplog.text


def test_what_is_no_job_leaves_no_trace():
    jobs.run("tracking.partitions.weeks_ahead")
    assert not Heartbeat.objects.exists()


def test_schedules_run_through_the_same_door():
    jobs.declare()
    jobs.declare()
    assert Schedule.objects.count() == len(jobs.JOBS)
    tick = Schedule.objects.get(name="tick")
    assert (tick.func, tick.args) == ("tracking.jobs.run", "('tracking.tasks.tick',)")
    assert Schedule.objects.get(name="nightly_check").next_run.hour == jobs.NIGHT
    assert Schedule.objects.get(name="nightly_check").next_run > datetime.now(UTC)


def test_a_task_is_named_for_the_logs():
    jobs.later("tracking.tasks.dispatch_loop", 0)
    task = OrmQ.objects.get().task
    assert (task["name"], task["args"]) == ("dispatch_loop", ("tracking.tasks.dispatch_loop", 0))
