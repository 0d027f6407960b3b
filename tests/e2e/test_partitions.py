"""Partitions are made and dropped while a long reader and the intake go on: nobody waits for the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.e2e.harness import Stack, sandbox

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]

LONGEST = 1.5  # seconds: the DDL's lock_timeout is 1 s
DROP = """
import django, sys
django.setup()
from tracking import partitions
for partition in partitions.existing():
    if partition.name in sys.argv[1:]:
        partitions.drop(partition)
"""


@pytest.fixture(scope="module")
def stack(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {"PARTITION_WEEKS_AHEAD": "2", "DJANGO_SETTINGS_MODULE": "config.settings"}
    accounts = [sandbox("box", profile="instant")]
    with Stack(tmp_path_factory.mktemp("partitions"), database, accounts, environment) as stack:
        yield stack


class Intake:
    """Sends without a pause, and remembers the slowest answer."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.slowest, self.count = stack, 0.0, 0
        self.failed: list[BaseException] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Intake:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                began = time.monotonic()
                self.stack.send("box", "ada@example.org")
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.count += 1
        except BaseException as error:
            self.failed.append(error)


@contextmanager
def export(stack: Stack) -> Iterator[None]:
    """A transaction that has read messages and stays open, as a long export would."""
    with psycopg.connect(stack.database) as conn, conn.cursor(name="export") as cursor:
        cursor.execute("SELECT * FROM message ORDER BY id")
        cursor.fetchmany(10)
        yield


def weekly(stack: Stack) -> list[str]:
    return [
        name
        for (name,) in stack.query(
            "SELECT relid::text FROM pg_partition_tree('message') WHERE isleaf ORDER BY relid::text"
        )
    ]


def test_partitions_are_made_while_an_export_reads_and_messages_come_in(stack: Stack):
    for _ in range(30):
        stack.send("box", "ada@example.org")
    before = weekly(stack)
    with Intake(stack) as intake, export(stack):
        stack.run(
            "-c",
            "import sys, django; django.setup(); from django.conf import settings; settings.PARTITION_WEEKS_AHEAD = 5;"
            " from tracking import partitions; partitions.ensure_ahead()",
        )
    assert not intake.failed
    assert len(weekly(stack)) == len(before) + 3
    assert intake.count > 10
    assert intake.slowest < LONGEST


def test_a_partition_is_dropped_although_an_export_reads_and_messages_come_in(stack: Stack):
    """The drop may have to wait for the reader, or to be repeated; the intake never waits for the drop."""
    old = f"message_{datetime.now(UTC) - timedelta(weeks=1):%G}"
    victim = min(weekly(stack))
    assert victim.startswith(old)
    with Intake(stack) as intake:
        with export(stack):
            stack.run("-c", DROP, victim, check=False)
        stack.run("-c", DROP, victim)
    assert not intake.failed
    assert victim not in weekly(stack)
    assert intake.slowest < LONGEST
