"""Does bulk operations, in slices. Called by dashboard.tasks.

One process at a time works on all operations that run, in turns: it holds an advisory lock, which ends with it. What
is done to a chunk of messages, what became of each of them, and how far the operation has come are one transaction:
whatever kills the process, nothing is done twice and nothing is left out.
"""

from __future__ import annotations

import logging
import math
import time
from datetime import UTC, datetime, timedelta

from django.core.exceptions import EmptyResultSet
from django.db import DatabaseError, InterfaceError, connection, transaction

from dashboard import scope
from dashboard.bulk import POSSIBLE
from dashboard.models import BulkItem, BulkKind, BulkOperation, BulkState, Outcome
from tracking.alone import alone
from tracking.services import act
from tracking.services.record import Source

log = logging.getLogger(__name__)
_LOCK = (7101, 0)
CHUNK = 25  # messages in one transaction, at most: they stay locked until its end
CHUNK_SECONDS = 0.5  # and no more than the rate allows for this long
LOOK_EVERY = 0.5  # seconds between two looks at what runs


def work(*, seconds: float) -> bool:
    """Work on whatever runs for a while. False where another process does."""
    with alone(_LOCK) as mine:
        if not mine:
            return False
        until = time.monotonic() + seconds
        while waits := [_step(key) for key in _running()]:
            left = until - time.monotonic()
            if left <= 0:
                break
            time.sleep(max(0.0, min(*waits, left, LOOK_EVERY)))
        return True


def anything_to_do() -> bool:
    return bool(_running())


def _running() -> list[int]:
    return list(BulkOperation.objects.filter(state=BulkState.RUNNING).order_by("pk").values_list("pk", flat=True))


def _step(operation_id: int) -> float:
    """One chunk. The seconds until the next one may be done."""
    with transaction.atomic():
        running = BulkOperation.objects.select_for_update().filter(pk=operation_id, state=BulkState.RUNNING)
        operation = running.first()
        if operation is None:
            return LOOK_EVERY
        now = datetime.now(UTC)
        if operation.next_at and operation.next_at > now:
            return (operation.next_at - now).total_seconds()
        if operation.collected_at is None:
            _collect(operation, now)
        else:
            _do_chunk(operation, now)
        operation.save()
        return max(0.0, (operation.next_at - now).total_seconds()) if operation.next_at else 0.0


def _collect(operation: BulkOperation, now: datetime) -> None:
    """Fix the next messages that belong to it, as they stand."""
    try:
        step = scope.read(operation.query).step(operation.collected_to)
    except scope.BadScope as bad:  # a project or an account that it names is gone
        _end(operation, BulkState.CANCELLED, now)
        operation.fault = f"The scope is not valid any more: {bad}"[:300]
        return
    rows = step.rows.filter(status__in=POSSIBLE[operation.kind]).order_by()
    operation.total += _copy(operation.pk, rows.values_list("pk", "status", "decisions"))
    operation.collected_to = step.edge
    if step.edge is None:
        operation.collected_at = now
        if not operation.total:
            _end(operation, BulkState.DONE, now)


def _copy(operation_id: int, rows: object) -> int:
    """Messages into items, without bringing them here."""
    try:
        select, params = rows.query.sql_with_params()  # type: ignore[attr-defined]
    except EmptyResultSet:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dashboard_bulkitem (operation_id, message_id, status, decisions, outcome, text)"
            f" SELECT %s, m.id, m.status, m.decisions, '', '' FROM ({select}) m (id, status, decisions)"
            " ON CONFLICT DO NOTHING",
            [operation_id, *params],
        )
        return int(cursor.rowcount)


def _do_chunk(operation: BulkOperation, now: datetime) -> None:
    size = max(1, min(CHUNK, math.ceil(operation.rate * CHUNK_SECONDS)))
    waiting = BulkItem.objects.filter(operation_id=operation.pk)
    if operation.done_to is not None:
        waiting = waiting.filter(message_id__gt=operation.done_to)
    items = list(waiting.order_by("message_id")[:size])
    if not items:
        return _end(operation, BulkState.DONE, now)
    for item in items:
        item.outcome, item.text = _do(operation, item)
        item.done_at = now
        operation.done += item.outcome == Outcome.DONE
        operation.changed += item.outcome == Outcome.CHANGED
        operation.refused += item.outcome == Outcome.REFUSED
    _store(items)
    operation.done_to = items[-1].message_id
    operation.next_at = max(now, operation.next_at or now) + timedelta(seconds=len(items) / operation.rate)
    return None


def _do(operation: BulkOperation, item: BulkItem) -> tuple[str, str]:
    """The deed, in a savepoint of its own: (outcome, why)."""
    detail = {"user": operation.who, "bulk_operation": operation.pk, "why": operation.reason}
    source, seen = Source("admin", detail=detail), act.Seen(item.status, item.decisions)
    try:
        with transaction.atomic():
            if operation.kind == BulkKind.CANCEL:
                act.cancel(item.message_id, source=source, seen=seen)
            elif operation.kind == BulkKind.RETRY:
                act.retry(item.message_id, source=source, seen=seen)
            else:
                act.retry_via(item.message_id, account_id=operation.account_id or 0, source=source, seen=seen)
    except act.Missing:
        return Outcome.REFUSED, "the message is not kept any more"
    except act.Changed as changed:
        return Outcome.CHANGED, str(changed)[:300]
    except act.Refused as refused:
        return Outcome.REFUSED, str(refused)[:300]
    except (DatabaseError, InterfaceError):
        raise  # the chunk is done again
    except Exception:  # one message must not hold up all the others
        log.exception("bulk operation %s: message %s", operation.pk, item.message_id)
        return Outcome.REFUSED, "an error of Postroom’s own; its log says more"
    return Outcome.DONE, ""


def _store(items: list[BulkItem]) -> None:
    BulkItem.objects.bulk_update(items, ["outcome", "text", "done_at"])


def _end(operation: BulkOperation, state: BulkState, now: datetime) -> None:
    operation.state, operation.finished_at, operation.next_at = state, now, None
