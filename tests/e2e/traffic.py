"""A client as integrators should write one: each request has an Idempotency-Key and is repeated until it is taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.e2e.harness import Stack

BATCH = 20
CLIENTS = 4
PATIENCE = 300.0  # seconds of repeated failure after which the client gives up, and the test with it


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that got a 202."""

    id: str
    number: int  # its external_id, used once
    account: str


@dataclass
class Client:
    stack: Stack
    accounts: Sequence[str]
    accepted: list[Accepted] = field(default_factory=list)
    repeated: int = 0  # requests that had to be sent again
    refused: dict[int, int] = field(default_factory=dict)  # status (0: no answer) → how often
    _next: int = 0
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def hand_in(self, count: int) -> None:
        """`count` messages more, by several clients at once: half of the requests single, half in batches."""
        numbers = range(self._next, self._next + count)
        self._next += count
        single, rest = numbers[: count // 2], numbers[count // 2 :]
        batches = [rest[at : at + BATCH] for at in range(0, len(rest), BATCH)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done in [pool.submit(self._single, n) for n in single] + [pool.submit(self._batch, b) for b in batches]:
                done.result()

    def _document(self, number: int) -> dict[str, Any]:
        account = self.accounts[number % len(self.accounts)]
        return {
            "provider": account,
            "channel": "email",
            "recipient": f"u{number}@example.org",
            "external_id": str(number),
            "content": {"text": f"Message {number}."},
        }

    def _single(self, number: int) -> None:
        told = self._persist("/v1/notifications", self._document(number), key=f"one-{number}")
        self._took([told], [number])

    def _batch(self, numbers: range) -> None:
        items = [self._document(number) for number in numbers]
        told = self._persist("/v1/notifications/batch", {"notifications": items}, key=f"batch-{numbers[0]}")
        assert told["accepted"] == len(items), told
        self._took(told["notifications"], numbers)

    def _took(self, told: Sequence[dict[str, Any]], numbers: Sequence[int]) -> None:
        with self._mutex:
            for shape, number in zip(told, numbers, strict=True):
                assert shape["external_id"] == str(number)
                self.accepted.append(Accepted(shape["id"], number, self.accounts[number % len(self.accounts)]))

    def _persist(self, path: str, document: Any, *, key: str) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while True:
            status, body = self._try(path, document, key)
            if status == 202:
                return body
            assert status in (0, 502, 503), f"{status}: {body}"  # nothing else may be said of a valid request
            assert time.monotonic() < until, f"no 202 for {PATIENCE:.0f} s: {status} {body}"
            with self._mutex:
                self.repeated += 1
                self.refused[status] = self.refused.get(status, 0) + 1
            time.sleep(0.2)

    def _try(self, path: str, document: Any, key: str) -> tuple[int, Any]:
        try:
            answer = self.stack.post(path, document, key=key, timeout=10)
            return answer.status_code, answer.json() if answer.content else None
        except (requests.RequestException, ValueError) as error:
            return 0, str(error)
