"""Partitions are made and dropped beside running readers and writers, whatever interrupts it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.utils import OperationalError

from providers.models import ProviderAccount
from tests.builders import make_account, make_project
from tests.tracking.lives import queue_message
from tracking import ids, partitions, wake
from tracking.models import Attempt, Content, Event, Message, Project
from tracking.store import reading

pytestmark = pytest.mark.django_db(transaction=True)

FAR = datetime(2041, 5, 8, 12, tzinfo=UTC)  # weeks that nobody else makes
WEEK = timedelta(days=7)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    for partition in partitions.existing():
        if partition.starts > FAR - 10 * WEEK:
            partitions.drop(partition)


@contextmanager
def long_reader() -> Iterator[psycopg.Connection]:
    """A transaction that has read every partition of message and goes on holding its locks, as an export would."""
    with psycopg.connect(**wake.dsn()) as conn:  # type: ignore[arg-type]
        conn.execute("DECLARE everything CURSOR FOR SELECT * FROM message")
        conn.execute("FETCH 1 FROM everything")
        yield conn


class Traffic:
    """Writes messages and reads them back, one after the other, and remembers the longest that one took."""

    def __init__(self, project: Project, account: ProviderAccount) -> None:
        self.project, self.account = project, account
        self.turns, self.longest = 0, 0.0
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                started = time.monotonic()
                message_id = queue_message(self.project, self.account)
                assert Message.objects.get(pk=message_id).status == "pending"
                assert Message.objects.filter(project=self.project).order_by("-id")[:5]
                self.longest = max(self.longest, time.monotonic() - started)
                self.turns += 1
        except Exception as error:
            self.error = error
        finally:
            connection.close()


@pytest.fixture
def traffic() -> Traffic:
    project = make_project()
    return Traffic(project, make_account(project))


def at_once(work: Callable[[], Any], threads: int = 2) -> list[Any]:
    """What each of several threads got, that start together."""
    start, results = threading.Barrier(threads), []

    def run() -> None:
        try:
            start.wait(10)
            results.append(work())
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    return results


def names() -> set[str]:
    return {partition.name for partition in partitions.existing()}


# --- making


def test_ahead_means_every_week_of_every_table_and_is_idempotent(settings: Any) -> None:
    now = datetime.now(UTC)
    wanted = {partitions.name_of(table, now + n * WEEK) for table in partitions.TABLES for n in range(-1, 7)}
    assert wanted <= names()
    assert partitions.ensure_ahead() == [] and partitions.weeks_ahead() == 6
    settings.PARTITION_WEEKS_AHEAD = 8
    made = partitions.ensure_ahead()
    assert set(made) == {partitions.name_of(table, now + n * WEEK) for table in partitions.TABLES for n in (7, 8)}
    assert partitions.weeks_ahead() == 8
    for partition in partitions.existing():
        if partition.name in made:
            partitions.drop(partition)


def test_weeks_begin_on_monday_also_over_new_year() -> None:
    sunday, monday = datetime(2040, 12, 30, 23, 59, 59, tzinfo=UTC), datetime(2040, 12, 31, tzinfo=UTC)
    assert (sunday.weekday(), monday.weekday()) == (6, 0)
    assert partitions.week_start(sunday) == monday - WEEK
    assert partitions.name_of("message", monday) == "message_2041w01"
    made = partitions.ensure(sunday, monday)
    assert [name for name in made if name.startswith("message")] == ["message_2040w52", "message_2041w01"]
    found = {partition.name: partition for partition in partitions.existing()}
    assert found["message_2041w01"].starts == monday == found["message_2040w52"].ends
    for name in made:
        partitions.drop(found[name])


def test_two_that_make_the_same_partitions_at_once() -> None:
    results = at_once(lambda: partitions.ensure(FAR, FAR + 2 * WEEK), threads=3)
    assert not [result for result in results if isinstance(result, Exception)]
    wanted = [partitions.name_of(table, FAR + n * WEEK) for n in range(3) for table in partitions.TABLES]
    assert sorted(name for result in results for name in result) == sorted(wanted)
    assert set(wanted) <= names()


def test_partitions_are_made_beside_a_long_reader_and_no_insert_waits(traffic: Traffic) -> None:
    with long_reader(), traffic:
        made = partitions.ensure(FAR, FAR + 3 * WEEK)
    assert len(made) == 4 * len(partitions.TABLES)
    assert traffic.error is None and traffic.turns > 5
    assert traffic.longest < 1.0


def test_a_new_partition_has_the_indexes_of_its_table_and_takes_its_week() -> None:
    partitions.ensure(FAR, FAR)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM pg_index WHERE indrelid = 'message'::regclass),"
            " (SELECT count(*) FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid WHERE indrelid = %s::regclass)",
            [partitions.name_of("message", FAR)],
        )
        parents, attached = cursor.fetchone()
        assert parents == attached > 1
        monday = partitions.week_start(FAR)
        for moment in (monday, monday + WEEK - timedelta(milliseconds=1)):
            cursor.execute(
                "INSERT INTO content VALUES (%s, '{}') RETURNING tableoid::regclass::text", [ids.floor(moment)]
            )
            assert cursor.fetchone() == (partitions.name_of("content", FAR),)


def test_a_missing_partition_is_made_and_the_message_taken() -> None:
    project = make_project()
    account = make_account(project)
    [partition] = [
        p for p in partitions.existing() if p.table == "message" and p.name == partitions.name_of("message", _now())
    ]
    partitions.drop(partition)
    message_id = partitions.with_repair(lambda: queue_message(project, account))
    assert Message.objects.get(pk=message_id).status == "pending" and partition.name in names()


def _now() -> datetime:
    return datetime.now(UTC)


def test_the_command_says_what_it_made(settings: Any) -> None:
    settings.PARTITION_WEEKS_AHEAD = 7
    told = [StringIO(), StringIO()]
    for out in told:
        call_command("ensure_partitions", stdout=out)
    first, second = (out.getvalue().splitlines() for out in told)
    made = [partitions.name_of(table, _now() + 7 * WEEK) for table in partitions.TABLES]
    assert first == [*(f"made {name}" for name in made), "ready for 7 weeks after this one"]
    assert second == ["ready for 7 weeks after this one"]
    for partition in partitions.existing():
        if partition.name in made:
            partitions.drop(partition)


# --- dropping


def test_a_partition_is_dropped_while_readers_and_writers_go_on(traffic: Traffic) -> None:
    partitions.ensure(FAR, FAR)
    doomed = next(p for p in partitions.existing() if p.name == partitions.name_of("message", FAR))
    reading = threading.Event()

    def read_for_a_while() -> None:
        with long_reader():
            reading.set()
            reads_on.wait(2.5)  # longer than a DETACH waits for: it is interrupted, and finalised later

    reads_on, reader = threading.Event(), threading.Thread(target=read_for_a_while)
    reader.start()
    assert reading.wait(10)
    with traffic:
        partitions.drop(doomed)
    reader.join(10)
    assert traffic.error is None and traffic.turns > 5
    assert traffic.longest < 1.0
    assert _table(doomed.name) == "gone" and doomed.name not in names()


def test_a_reader_that_does_not_end_only_puts_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "LOCK_TRIES", 2)
    partitions.ensure(FAR, FAR)
    one, two = (
        next(p for p in partitions.existing() if p.name == partitions.name_of(t, FAR)) for t in ("message", "event")
    )
    with long_reader():
        with pytest.raises(OperationalError):
            partitions.drop(one)
        assert _table(one.name) == "being detached" and one.name not in names()
        assert partitions.ensure(FAR, FAR) == []  # its name is taken; the job neither fails nor hangs
    partitions.drop(two)  # finishes what was begun as well
    assert (_table(one.name), _table(two.name)) == ("gone", "gone")


@pytest.mark.parametrize("left", ["marked", "detached"])
def test_a_drop_goes_on_where_a_killed_process_left_it(left: str) -> None:
    partitions.ensure(FAR, FAR)
    name = partitions.name_of("event", FAR)
    with connection.cursor() as cursor:
        cursor.execute(f"COMMENT ON TABLE {name} IS '{partitions._MARK}'")
        if left == "detached":
            cursor.execute(f"ALTER TABLE event DETACH PARTITION {name} CONCURRENTLY")
    assert partitions.finish_drops() == [name]
    assert _table(name) == "gone"
    assert partitions.ensure(FAR, FAR) == [name]


def test_a_detach_by_hand_that_was_interrupted_is_finalised_and_its_table_kept() -> None:
    partitions.ensure(FAR, FAR)
    name = partitions.name_of("message", FAR)
    with long_reader(), connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '300ms'")
        with pytest.raises(OperationalError):
            cursor.execute(f"ALTER TABLE message DETACH PARTITION {name} CONCURRENTLY")
        cursor.execute("RESET statement_timeout")
        assert _table(name) == "being detached"
    assert partitions.finish_drops() == [name]
    assert _table(name) == "alone"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {name}")


def _table(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhdetachpending FROM pg_class LEFT JOIN pg_inherits ON inhrelid = pg_class.oid WHERE relname = %s",
            [name],
        )
        row = cursor.fetchone()
    return "gone" if row is None else {None: "alone", True: "being detached", False: "attached"}[row[0]]


# --- reading


def touched(plan: str) -> set[str]:
    return set(
        re.findall(r"\b(?:message|content|attempt|event)_\d{4}w\d{2}\b", re.sub(r"_\w*_(?:idx|pkey)\d*", "", plan))
    )


@pytest.mark.parametrize("model", [Message, Content, Attempt, Event])
def test_a_look_up_by_id_touches_one_partition(model: Any) -> None:
    key = ids.new()
    column = "id" if model is Message else "message_id"
    plan = model.objects.filter(**{column: key}).explain()
    assert touched(plan) == {partitions.name_of(model._meta.db_table, _now())}


def test_a_batch_touches_the_weeks_of_its_ids_alone() -> None:
    this_week = partitions.week_start(_now())
    keys: list[UUID] = sorted([ids.floor(this_week), ids.new()])
    with transaction.atomic(), connection.cursor() as cursor:
        for statement, table in ((reading.LOCK, "message"), (reading.ATTEMPTS, "attempt")):
            cursor.execute(f"EXPLAIN {statement}", [keys, keys[0], keys[-1]])
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert touched(plan) == {partitions.name_of(table, this_week)}
