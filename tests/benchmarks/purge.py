"""A purge of a week of messages with their content, attempts and events: whole partitions against DELETE."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from tests.benchmarks.row import Row
from tests.benchmarks.stage import Stage
from tracking import ids, partitions
from tracking.models import MetricSeal, Project, PurgedWeek, PurgeRun, Retention
from tracking.partitions import WEEK
from tracking.services import purge
from tracking.services.purge_plan import MESSAGE_TABLES

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
    """Where every project is past the week; floor: where another one keeps it, so that 5,000 are deleted at a time, and
    VACUUM, before which none of their space can be used again."""

    family, name, counts, full, aim = "purge", "purge, a week", "messages", 1, 100.0

    def __init__(self, stage: Stage, scale: float, messages: int) -> None:
        super().__init__(stage, scale)
        self.least = 1_000
        self.size = max(self.least, int(messages * scale))
        self.week = partitions.week_start(datetime.now(UTC)) - timedelta(weeks=WEEKS_AGO)
        self.note = f"{self.size:,} messages"

    def prepare(self) -> None:
        self.account = self.stage.sandbox()
        self.other = Project.objects.create(code="bench-keeps")
        Retention.objects.create(project=self.other, plan="custom", days=3_000, content_days=30)

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
        self._fill()
        took = self._purge()
        assert partitions.name_of("message", self.week) in [name for name, *_ in self.run.dropped]
        return self.size / took

    def floor(self) -> float:
        """The same purge where a message of another project keeps the week alive."""
        self._fill()
        partitions.ensure(self.week, self.week)
        kept = ids.floor(self.week)
        self.stage.conn.execute(
            "INSERT INTO message SELECT (jsonb_populate_record(m, jsonb_build_object('id', %s::uuid, 'project_id',"
            " %s::bigint))).* FROM message m WHERE id >= %s AND id < %s ORDER BY id LIMIT 1",
            [kept, self.other.pk, ids.floor(self.week), ids.floor(self.week + WEEK)],
        )
        took = self._purge()
        assert self.stage.conn.execute("SELECT id FROM message WHERE project_id = %s", [self.other.pk]).fetchone()
        left = partitions.by_week()[self.week]
        began = time.perf_counter()
        self.stage.conn.execute(f"VACUUM {', '.join(part.name for part in left.values())}")
        vacuum = time.perf_counter() - began
        self.note = f"{self.size:,} messages; {took:.1f} s by rows and {vacuum:.1f} s VACUUM"
        partitions.drop(*left.values())
        return self.size / (took + vacuum)

    def _purge(self) -> float:
        """In seconds: planned, the metrics sealed, purged."""
        PurgedWeek.objects.all().delete()
        MetricSeal.objects.all().delete()
        began = time.perf_counter()
        run = purge.start(by="bench")
        assert run is not None and purge.work(run.pk, seconds=3_600)
        took = time.perf_counter() - began
        self.run = PurgeRun.objects.get(pk=run.pk)
        assert self.run.finished_at and not self.run.error
        left = "SELECT FROM message WHERE project_id = %s AND id < %s LIMIT 1"
        bounds = [self.stage.project.pk, ids.floor(self.week + WEEK)]
        assert self.stage.conn.execute(left, bounds).fetchone() is None
        return took
