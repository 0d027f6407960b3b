"""What a purge would do now: which weeks go whole, of which only some projects' rows go, what is held, and why. Called
by purge, `manage.py purge --dry-run` and the console. Reads only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import connection, transaction

from tracking import ids, partitions, retention
from tracking.models import Project, PurgedWeek
from tracking.partitions import WEEK, Partition
from tracking.retention import Policy
from tracking.statuses import Status

OPEN = (Status.PENDING.value, Status.PROCESSING.value)  # a send is still wanted or under way
MESSAGE_TABLES = ("event", "attempt", "content", "message")  # the message itself last: its week is found by it
# LATERAL … LIMIT, and BETWEEN: for an equality the planner would rather read the key of all the week, in vain where a
# project has nothing in it.
HAVE_MESSAGES = (
    "SELECT p.id FROM tracking_project p CROSS JOIN LATERAL (SELECT FROM message WHERE project_id BETWEEN p.id AND p.id"
    " AND id >= %s AND id < %s AND status <> ALL(%s) ORDER BY project_id, id LIMIT 1) one ORDER BY p.id"
)
COUNTED = 10_000  # rows that a preview counts one by one; what is more is estimated


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done in one week. `whole`: its partitions are dropped; else rows of `projects` are deleted."""

    kind: str  # message, content or inbound
    week: datetime
    whole: bool
    tables: tuple[Partition, ...]
    projects: tuple[int, ...] = ()
    why: str = ""  # it is not whole, or nothing goes

    @property
    def bounds(self) -> tuple[Any, Any]:
        return ids.floor(self.week), ids.floor(self.week + WEEK)


def steps(now: datetime, *, quick: bool = False) -> Iterator[Step]:
    """Oldest week first. Each week is looked at when it is asked for. `quick`: without looking for messages that are
    not final, which may be a look at all of a week."""
    policies = retention.policies()
    for week, tables in partitions.by_week().items():
        if week + WEEK > now:
            return
        yield from _of_week(week, tables, policies, now, quick)


def _of_week(
    week: datetime, tables: dict[str, Partition], policies: dict[int, Policy], now: datetime, quick: bool
) -> Iterator[Step]:
    gone = False
    if any(table in tables for table in MESSAGE_TABLES):
        found = _messages(week, tables, policies, now, quick)
        gone = found is not None and found.whole
        if found:
            yield found
    if "content" in tables and not gone and (found := _contents(week, tables, policies, now, quick)):
        yield found
    if "inbound" in tables and week + WEEK <= now - timedelta(days=settings.INBOUND_RETENTION_DAYS):
        waits = _exists("SELECT FROM inbound WHERE state = 'new' AND id >= %s AND id < %s", week)
        why = "some of its requests are not read yet" if waits else ""
        yield Step("inbound", week, not waits, (tables["inbound"],), why=why)


def _messages(
    week: datetime, tables: dict[str, Partition], policies: dict[int, Policy], now: datetime, quick: bool
) -> Step | None:
    parts = tuple(tables[table] for table in MESSAGE_TABLES if table in tables)
    if not any(policy.past("message", week, now) for policy in _or_default(policies)):
        return None
    present = projects_in(week)
    past = tuple(pk for pk in present if policies[pk].past("message", week, now))
    if present and not past:
        return None
    stuck = [pk for pk in past if policies[pk].export_first and not settings.PURGE_EXPORT_DIR]
    why = _others("messages", len(present) - len(past)) or _nowhere(stuck) or held(week, quick)
    if why:
        ending = projects_in(week, final=True)
        past = tuple(pk for pk in past if pk in ending and pk not in stuck)
    return Step("message", week, not why, parts, past, why)


def _contents(
    week: datetime, tables: dict[str, Partition], policies: dict[int, Policy], now: datetime, quick: bool
) -> Step | None:
    if not any(policy.past("content", week, now) for policy in _or_default(policies)):
        return None
    present = projects_in(week)
    past = [pk for pk in present if policies[pk].past("content", week, now)]
    if present and not past:
        return None
    why = _others("content", len(present) - len(past)) or held(week, quick)
    done = set(PurgedWeek.objects.filter(kind="content", starts=week, done=True).values_list("project_id", flat=True))
    # of those whose messages are past as well, the step before deletes what may go
    left = tuple(pk for pk in past if pk not in done and not policies[pk].past("message", week, now))
    return Step("content", week, not why, (tables["content"],), left, why) if left or not why else None


def _others(what: str, count: int) -> str:
    return f"{count} other project{'s keep' if count > 1 else ' keeps'} {what} in it" if count else ""


def _nowhere(stuck: Sequence[int]) -> str:
    codes = Project.objects.filter(pk__in=stuck).values_list("code", flat=True) if stuck else []
    return f"{', '.join(codes)}: to be exported first, but PURGE_EXPORT_DIR is not set" if codes else ""


def _or_default(policies: dict[int, Policy]) -> Sequence[Policy]:
    return [*policies.values()] or [retention.default()]


def projects_in(week: datetime, *, final: bool = False) -> list[int]:
    """Those that have messages in it: one look into an index for each. `final`: such as may go."""
    low, high = ids.floor(week), ids.floor(week + WEEK)
    with connection.cursor() as cursor:
        cursor.execute(HAVE_MESSAGES, [low, high, list(OPEN) if final else []])
        return [pk for (pk,) in cursor.fetchall()]


def held(week: datetime, quick: bool) -> str:
    """Why a week must not be dropped whole whatever the policies say; empty: it may."""
    if _exists("SELECT FROM queue WHERE message_id >= %s AND message_id < %s", week):
        return "some of its messages are queued"
    if not quick and _any_open(week):
        return "some of its messages are not final"
    return ""


def _any_open(week: datetime) -> bool:
    """A look at all of them: no index knows a status, since each change would have to be written to it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 2")
        return _exists("SELECT FROM message WHERE id >= %s AND id < %s AND status = ANY(%s)", week, list(OPEN))


def _exists(query: str, week: datetime, *more: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS ({query})", [ids.floor(week), ids.floor(week + WEEK), *more])
        return bool(cursor.fetchone()[0])


# --- how much it is


@dataclass(frozen=True, slots=True)
class Preview:
    """One step with its sizes. `rows`: table → how many; `projects`: code → its messages; `about`: all estimated."""

    step: Step
    rows: dict[str, int]
    projects: dict[str, int]
    about: bool
    bytes: int = 0
    names: tuple[str, ...] = field(default=())


def preview(now: datetime, *, quick: bool = False) -> list[Preview]:
    codes = dict(Project.objects.values_list("pk", "code"))
    return [_sized(step, codes) for step in steps(now, quick=quick)]


def _sized(step: Step, codes: dict[int, str]) -> Preview:
    names = tuple(part.name for part in step.tables)
    if step.kind == "inbound":
        (part,) = step.tables
        return Preview(step, {"inbound": part.rows}, {}, True, part.bytes if step.whole else 0, names)
    counted = {pk: _messages_of(pk, step) for pk in step.projects}
    going = sum(count for count, _ in counted.values())
    about = any(estimated for _, estimated in counted.values())
    rows = {"message": going} if step.kind == "message" else {}
    stored = {part.table: part.rows for part in step.tables}
    for table in stored.keys() - {"message"}:
        share = going / stored["message"] if stored.get("message") else 0
        rows[table] = going if table == "content" else round(stored[table] * min(1.0, share))
    size = sum(part.bytes for part in step.tables) if step.whole else 0
    projects = {codes.get(pk, str(pk)): count for pk, (count, _) in counted.items()}
    return Preview(step, rows, projects, about or len(stored) > 1, size, names if step.whole else ())


def _messages_of(project_id: int, step: Step) -> tuple[int, bool]:
    """How many of a project's messages, and whether that is an estimate."""
    query, params = "FROM message WHERE project_id = %s AND id >= %s AND id < %s", [project_id, *step.bounds]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM (SELECT {query} LIMIT {COUNTED + 1}) part", params)
        count = int(cursor.fetchone()[0])
        if count <= COUNTED:
            return count, False
        cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT {query}", params)
        plan = cursor.fetchone()[0]
    plan = orjson.loads(plan) if isinstance(plan, str) else plan
    return max(COUNTED, int(plan[0]["Plan"]["Plan Rows"])), True
