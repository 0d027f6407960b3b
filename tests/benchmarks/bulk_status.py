"""The status of 1,000 messages among very many, in one request."""

from __future__ import annotations

import random
import time
from datetime import timedelta

import orjson

from tests.benchmarks import fill, load
from tests.benchmarks.row import Row
from tests.benchmarks.stage import Stage

ASKED = 1_000
_COLUMNS = (
    "id",
    "status",
    "reason",
    "channel",
    "external_id",
    "batch_id",
    "sent_at",
    "delivered_at",
    "read_at",
    "attempts",
)
_SELECT = f"SELECT {', '.join(_COLUMNS)}, reference FROM message WHERE id = ANY(%s)"


class BulkStatus(Row):
    """One caller asks one request after another. Floor: the same columns by one SELECT, encoded as JSON; no HTTP."""

    family, name, counts, full, aim = "bulk_status", "bulk_status", "requests", 40, 0.4
    least = 5

    def __init__(self, stage: Stage, scale: float, messages: int) -> None:
        super().__init__(stage, scale)
        self.messages = max(2 * ASKED, int(messages * scale))
        self.note = f"{ASKED:,} of {self.messages:,}"

    def prepare(self) -> None:
        self.port = self.stage.web()
        self.stage.empty("message")
        self.keys = fill.keys(self.messages, timedelta(weeks=self.stage.weeks - 1))
        fill.messages(
            self.stage.conn, self.stage.sandbox(), self.stage.project.pk, self.keys, status="sent", attempts=1
        )
        self.stage.analyze("message")
        self.headers = {"Authorization": f"Bearer {self.stage.key}"}

    def ours(self) -> float:
        path, wanted = "/v1/notifications/bulk-status", [random.sample(self.keys, ASKED) for _ in range(self.size)]
        requests = [load.request(path, orjson.dumps({"notification_ids": ids}), self.headers) for ids in wanted]
        connection = load.Connection(self.port)
        started = time.perf_counter()
        answers = [connection.ask(raw) for raw in requests]
        took = time.perf_counter() - started
        connection.close()
        for answer in answers:
            statuses = orjson.loads(answer)["statuses"]
            assert len(statuses) == ASKED and all(entry["status"] == "sent" for entry in statuses)
        return self.size / took

    def floor(self) -> float:
        wanted = [random.sample(self.keys, ASKED) for _ in range(self.size)]
        started = time.perf_counter()
        for ids in wanted:
            rows = self.stage.conn.execute(_SELECT, [ids]).fetchall()
            orjson.dumps({"statuses": [dict(zip((*_COLUMNS, "reference"), row, strict=True)) for row in rows]})
        return self.size / (time.perf_counter() - started)
