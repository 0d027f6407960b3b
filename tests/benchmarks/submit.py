"""Taking messages in over the API, one a request and 1,000 a request. Floor of both: the bare view, one a request."""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from tests.benchmarks import load
from tests.benchmarks.row import Row

_OURS = ("message", "content", "event", "queue", "metric_delta")
_number = itertools.count()


def notification() -> dict[str, Any]:
    number = next(_number)
    return {
        "channel": "email",
        "recipient": f"user{number}@example.com",
        "sender": "shop@example.com",
        "subject": "Your order",
        "content": {"text": "Your order has been sent to you."},
        "external_id": f"order-{number}",
        "metadata": {"order": number},
    }


class Submit(Row):
    family, counts = "submit", "messages"

    def prepare(self) -> None:
        self.stage.sandbox()
        self.port = self.stage.web()
        self.headers = {"Authorization": f"Bearer {self.stage.key}"}

    def _post(self, path: str, document: Any) -> bytes:
        return load.request(path, orjson.dumps(document), self.headers)

    def _requests(self) -> list[bytes]:
        raise NotImplementedError

    def ours(self) -> float:
        self.stage.empty(*_OURS)
        took = load.run(self.port, self._requests())
        (stored,) = self.stage.conn.execute("SELECT count(*) FROM queue").fetchone()  # type: ignore[misc]
        assert stored == self.size, f"{stored} of {self.size} messages are queued"
        return self.size / took

    def floor(self) -> float:
        self.stage.empty("floor.bare")
        count = min(self.size, Single.full)
        return count / load.run(self.port, [self._post("/bare", notification()) for _ in range(count)])


class Single(Submit):
    name, full, aim = "submit, 1 a request", 3_000, 0.4

    def _requests(self) -> list[bytes]:
        return [self._post("/v1/notifications", notification()) for _ in range(self.size)]


class Batch(Submit):
    name, full, least = "submit, 1,000 a request", 16_000, 1_000

    def _requests(self) -> list[bytes]:
        self.size -= self.size % 1_000
        return [
            self._post("/v1/notifications/batch", {"notifications": [notification() for _ in range(1_000)]})
            for _ in range(self.size // 1_000)
        ]
