"""A purge of a week of messages with their content, attempts and events: whole partitions against DELETE."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.benchmarks.row import Row
from tests.benchmarks.stage import Stage
from tracking import ids, partitions
from tracking.models import PurgeRun
from tracking.partitions import WEEK
from tracking.services import purge
from tracking.services.purge_plan import MESSAGE_TABLES
from tracking.services.purge_rows import CHUNK

WEEKS_AGO = 30
_KEYS = """
CREATE TEMP TABLE bench_key AS SELECT n, timestamptz 'epoch' + ms * interval '1 ms' AS at,
 (lpad(to_hex(ms), 12, '0') || '7' || left(md5(n::text), 3) || '8' || substr(md5(n::text), 4, 15))::uuid AS id
FROM (SELECT n, %(low)s + n * (%(high)s - %(low)s) / %(count)s AS ms FROM generate_series(0, %(count)s - 1) n) made
"""
_FILL = (
    "INSERT INTO message (id, project_id, account_id, channel, recipient, external_id, category, template_id, tags,"
    " priority, status, reason, sent_at, delivered_at, attempts, decision, decisions, decided_after, budget_from,"
    " operator_retries, leg, reference) SELECT id, %(project)s, %(account)s, 'email',"
    " 'user' || n %% 50000 || '@example.com', 'order-' || n, '', '', '{}', 5, 'delivered', '', at, at, 1, 'queued', 1,"
    " 0, 0, 0, 0, 'ref-' || n FROM bench_key",
    "INSERT INTO content SELECT id, jsonb_build_object('subject', 'Your order', 'text', repeat('On its way. ', 30))"
    " FROM bench_key",
    "INSERT INTO attempt (message_id, number, account_id, leg, idempotency_key, started_at, finished_at, reference,"
    " accepted_at, delivered_at, code, text) SELECT id, 1, %(account)s, 0, id || ':0:0', at, at, 'ref-' || n, at, at,"
    " '', '' FROM bench_key",
    "INSERT INTO event (message_id, dedupe_key, kind, attempt, occurred_at, recorded_at, source, machine, code, text)"
    " SELECT id, kind, kind, 1, at, at, 'provider', false, '', '' FROM bench_key,"
    " unnest(ARRAY['queued', 'accepted', 'delivered']) kind",
)


class Purge(Row):
    """Floor: the fastest DELETE there is in chunks of at most 5,000: by ranges of ids, and nothing else is done."""

    family, name, counts, full, aim = "purge", "purge, a week", "messages", 1, 100.0

    def __init__(self, stage: Stage, scale: float, messages: int) -> None:
        super().__init__(stage, scale)
        self.least = 1_000
        self.size = max(self.least, int(messages * scale))
        self.week = partitions.week_start(datetime.now(UTC)) - timedelta(weeks=WEEKS_AGO)
        self.note = f"{self.size:,} messages"

    def prepare(self) -> None:
        self.account = self.stage.sandbox()

    def _fill(self) -> None:
        partitions.ensure(self.week, self.week)
        low, high = (int(moment.timestamp() * 1000) for moment in (self.week, self.week + WEEK))
        connection = self.stage.conn
        connection.execute("DROP TABLE IF EXISTS bench_key")
        with connection.cursor() as cursor:
            statement = _KEYS
            for name, value in {"low": low, "high": high, "count": self.size}.items():
                statement = statement.replace(f"%({name})s", f"{value}::bigint")
            cursor.execute(statement)
            for each in _FILL:
                cursor.execute(each, {"project": self.stage.project.pk, "account": self.account.pk})
        self.stage.analyze(*(partitions.name_of(table, self.week) for table in MESSAGE_TABLES))

    def ours(self) -> float:
        """The whole purge: plan, look for what is not final, seal the metrics, drop."""
        self._fill()
        began = time.perf_counter()
        run = purge.start(by="bench")
        assert run is not None and purge.work(run.pk, seconds=600)
        took = time.perf_counter() - began
        run = PurgeRun.objects.get(pk=run.pk)
        assert run.finished_at and partitions.name_of("message", self.week) in [name for name, *_ in run.dropped]
        return self.size / took

    def floor(self) -> float:
        self._fill()
        began = time.perf_counter()
        after, end, gone = UUID(int=ids.floor(self.week).int - 1), ids.floor(self.week + WEEK), 0
        while last := self._last(after, end):
            with self.stage.conn.transaction():
                for table in MESSAGE_TABLES:
                    column = "id" if table == "message" else "message_id"
                    query = f"DELETE FROM {table} WHERE {column} > %s AND {column} <= %s"
                    gone = self.stage.conn.execute(query, [after, last]).rowcount  # type: ignore[arg-type]
            assert 0 < gone <= CHUNK
            after = last
        return self.size / (time.perf_counter() - began)

    def _last(self, after: UUID, end: UUID) -> UUID | None:
        """Of the next chunk."""
        query = (
            f"SELECT id FROM (SELECT id FROM message WHERE id > %s AND id < %s ORDER BY id LIMIT {CHUNK}) part"
            " ORDER BY id DESC LIMIT 1"
        )
        found: Any = self.stage.conn.execute(query, [after, end]).fetchone()  # type: ignore[arg-type]
        return found[0] if found else None
