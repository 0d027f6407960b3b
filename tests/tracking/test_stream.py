"""The rows behind streams: who gets some, in which order they are numbered, how long they are kept."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from tests.builders import make_account, make_project
from tests.tracking.lives import queue_message
from tracking import followers
from tracking.models import Follower, Project, StreamEvent
from tracking.services import stream
from tracking.services.record import Record, Source
from tracking.statuses import Decision

NOW = datetime.now(UTC)


@pytest.fixture
def project() -> Project:
    return make_project()


def follow(project: Project) -> float:
    seconds = stream.follow(project.pk)
    followers.forget()
    return seconds


def cancel(message_id) -> None:
    with transaction.atomic():
        work = Record([message_id])
        work.decide(work.messages[message_id], Decision.CANCEL, source=Source("api"))
        work.save()


def all_of(project: Project) -> list[stream.Event]:
    """From the first number that is kept."""
    stream.number_committed()
    return stream.of_project(project.pk, Follower.objects.get(project=project).floor, 1_000)


def told(project: Project) -> list[tuple]:
    return [(event.message_id, event.previous, event.status) for event in all_of(project)]


@pytest.mark.django_db
def test_a_followed_project_has_a_row_for_each_change_of_status(project):
    follow(project)
    message = queue_message(project, make_account(project))
    cancel(message)
    assert told(project) == [(message, None, "pending"), (message, "pending", "cancelled")]


@pytest.mark.django_db
def test_what_changes_no_status_has_none(project):
    follow(project)
    message = queue_message(project, make_account(project))
    with transaction.atomic():
        work = Record([message])
        work.note(work.messages[message], key="seen", source=Source("operator"), text="looked at")
        work.save()
    assert StreamEvent.objects.count() == 1


@pytest.mark.django_db
def test_a_project_that_nobody_follows_costs_no_row_and_no_query(project, django_assert_num_queries):
    message = queue_message(project, make_account(project))
    row = Record([message]).messages[message]
    follow(make_project())
    followers.projects()
    with django_assert_num_queries(0):
        assert not stream.of_changes([(row, None)], NOW).rows


@pytest.mark.django_db
def test_following_ends_an_hour_after_the_last_sign(project):
    follow(project)
    Follower.objects.update(until=datetime.now(UTC) - timedelta(seconds=1))
    followers.forget()
    queue_message(project, make_account(project))
    assert not StreamEvent.objects.exists()


@pytest.mark.django_db
def test_the_first_to_follow_waits_until_all_processes_know_and_the_next_does_not(project):
    assert 2 < follow(project) <= stream.KNOWN_AFTER
    Follower.objects.update(since=datetime.now(UTC) - timedelta(seconds=10))
    assert follow(project) == 0.0


@pytest.mark.django_db
def test_after_a_time_without_followers_older_numbers_are_gone(project):
    follow(project)
    queue_message(project, make_account(project))
    (event,) = all_of(project)
    Follower.objects.update(until=datetime.now(UTC) - timedelta(seconds=1))
    assert follow(project) > 2, "nobody wrote meanwhile"
    with pytest.raises(stream.Gone):
        stream.of_project(project.pk, event.number - 1, 10)
    assert stream.of_project(project.pk, event.number, 10) == []


@pytest.mark.django_db
def test_what_is_pruned_is_gone_and_the_rest_is_not(project):
    follow(project)
    account = make_account(project)
    for _ in range(4):
        queue_message(project, account)
    events = all_of(project)
    old = StreamEvent.objects.filter(number__in=[event.number for event in events[:2]])
    old.update(at=NOW - timedelta(hours=25))
    assert stream.prune(NOW, hours=24) == 2
    with pytest.raises(stream.Gone):
        stream.of_project(project.pk, events[0].number, 10)
    assert stream.of_project(project.pk, events[1].number, 10) == events[2:]
    assert [event.number for event in stream.after(0)] == [event.number for event in events[2:]]


@pytest.mark.django_db
def test_another_project_sees_nothing_of_it(project):
    other = make_project()
    follow(project)
    follow(other)
    queue_message(project, make_account(project))
    assert len(told(project)) == 1 and told(other) == []


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_commits_late_is_not_skipped(project):
    """Its rows are older than those of another one that was committed, numbered and read before it."""
    follow(project)
    account = make_account(project)
    late, may_commit, written = [], threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            late.append(queue_message(project, account))
            written.set()
            may_commit.wait(20)
        connection.close()

    thread = threading.Thread(target=slow)
    thread.start()
    assert written.wait(20)
    early = queue_message(project, account)
    assert stream.number_committed() == 1
    (first,) = stream.after(0)
    assert first.message_id == early
    assert stream.newest() == first.number
    may_commit.set()
    thread.join()
    assert stream.number_committed() == 1
    (second,) = stream.after(first.number)
    assert second.message_id == late[0] and second.number > first.number


@pytest.mark.django_db(transaction=True)
def test_a_reader_of_the_tail_misses_nothing_while_many_write_and_number():
    """Writers commit at random times, two number at once, one reads what is after the last number that it saw."""
    project = make_project()
    follow(project)
    account = make_account(project)
    made: list = []
    done = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(15):
            with transaction.atomic():
                keys = [queue_message(project, account) for _ in range(chance.randrange(1, 4))]
                threading.Event().wait(chance.random() / 50)
            made.extend(keys)
        connection.close()

    def number() -> None:
        while not done.is_set():
            stream.number_committed()
        connection.close()

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    numberers = [threading.Thread(target=number) for _ in range(2)]
    seen: list[stream.Event] = []
    for thread in (*writers, *numberers):
        thread.start()
    while any(thread.is_alive() for thread in writers):
        seen += stream.after(seen[-1].number if seen else 0, 7)
    done.set()
    for thread in numberers:
        thread.join()
    stream.number_committed()
    while more := stream.after(seen[-1].number, 7):
        seen += more
    assert sorted(event.message_id for event in seen) == sorted(made)
    assert [event.number for event in seen] == sorted({event.number for event in seen})


@pytest.mark.django_db(transaction=True)
def test_the_changes_of_one_message_keep_their_order(project):
    follow(project)
    message = queue_message(project, make_account(project))
    cancel(message)
    with transaction.atomic():
        work = Record([message])
        work.decide(work.messages[message], Decision.OPERATOR_RETRY, source=Source("operator"))
        work.save()
    steps = told(project)
    assert [before for _, before, _ in steps] == [None, *(status for _, _, status in steps[:-1])]
