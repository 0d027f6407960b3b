"""The claim against a real queue: its order, what it passes over, and that its cost does not grow with what waits."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django.db import connection, transaction

from tests.builders import make_account, make_project
from tracking import ids
from tracking.models import Project, QueueRow
from tracking.services.claim import STATEMENT, claim, parameters

pytestmark = pytest.mark.django_db(transaction=True)

BLOCKS = 400  # that a claim may touch; it was 200,000 with as many due rows of a paused project


def fill(project: Project, account_id: int, rows: int, *, due: str, priority: str = "n % 10") -> None:
    """Queue rows without messages: the claim looks at nothing else."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO queue (message_id, project_id, account_id, priority, due_at) SELECT gen_random_uuid(),"
            f" {project.pk}, {account_id}, {priority}, now() + {due} FROM generate_series(1, {rows}) n"
        )


def add(project: Project, account_id: int, *, priority: int = 5, due_at: datetime | None = None) -> UUID:
    row = QueueRow(message_id=ids.new(), project_id=project.pk, account_id=account_id, priority=priority)
    row.due_at = due_at or datetime.now(UTC)
    row.save(force_insert=True)
    return row.message_id


def taken(account_id: int, limit: int, cap: int = 1000) -> list[UUID]:
    return claim(account_id=account_id, limit=limit, cap=cap, token=uuid4())


def blocks_touched(account_id: int) -> int:
    """By one claim of ten, which is undone."""
    given = parameters(account_id=account_id, limit=10, cap=10, token=uuid4())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE queue")
        with transaction.atomic():
            cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + STATEMENT, given)
            (shown,) = cursor.fetchone()
            transaction.set_rollback(True)
    plan: dict[str, Any] = (shown if isinstance(shown, list) else orjson.loads(shown))[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def test_what_is_scheduled_for_later_is_not_read() -> None:
    project, account = make_project(), make_account()
    fill(project, account.pk, 60_000, due="n * interval '1 s' + interval '1 day'")
    few = [add(project, account.pk, priority=9) for _ in range(3)]
    assert blocks_touched(account.pk) < BLOCKS
    assert taken(account.pk, 10) == few


def test_a_backlog_is_read_as_far_as_it_is_wanted() -> None:
    project, account = make_project(), make_account()
    fill(project, account.pk, 60_000, due="interval '1 day' + n * interval '1 s'", priority="n % 5")
    fill(project, account.pk, 20_000, due="n * interval '-1 s'", priority="5 + n % 5")
    assert blocks_touched(account.pk) < BLOCKS
    assert len(taken(account.pk, 10)) == 10


def test_due_rows_of_a_paused_project_are_not_read() -> None:
    paused, other, account = make_project(paused=True), make_project(), make_account()
    fill(paused, account.pk, 60_000, due="n * interval '-1 s'")
    free = add(other, account.pk, priority=9)
    assert blocks_touched(account.pk) < BLOCKS
    assert taken(account.pk, 10) == [free]


def test_the_order_is_priority_then_due_time_then_id_over_all_projects() -> None:
    account, draw, now = make_account(), random.Random(7), datetime.now(UTC)
    projects = [make_project() for _ in range(4)] + [make_project(paused=True)]
    waiting = []
    for _ in range(120):
        project, priority = draw.choice(projects), draw.randrange(10)
        due_at = now + timedelta(seconds=draw.choice([-30, -20, -10, 3600]))
        key = add(project, account.pk, priority=priority, due_at=due_at)
        if due_at <= now and not project.paused:
            waiting.append((priority, due_at, key))
    waiting.sort()
    for first in range(0, len(waiting), 7):
        assert taken(account.pk, 7) == sorted(key for _, _, key in waiting[first : first + 7])
    assert taken(account.pk, 7) == []


def test_the_cap_counts_what_is_leased() -> None:
    project, account = make_project(), make_account()
    for _ in range(6):
        add(project, account.pk)
    assert [len(taken(account.pk, limit, cap=4)) for limit in (3, 3, 3)] == [3, 1, 0]


def test_locked_rows_are_passed_over_without_waiting() -> None:
    project, account = make_project(), make_account()
    keys = [add(project, account.pk, priority=priority) for priority in (1, 1, 5, 9)]
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM queue WHERE message_id = ANY(%s) FOR UPDATE", [keys[:2]])
        assert [taken(account.pk, 1), taken(account.pk, 1), taken(account.pk, 1)] == [[keys[2]], [keys[3]], []]
    finally:
        other.rollback()
        other.close()
    assert taken(account.pk, 5) == sorted(keys[:2])
