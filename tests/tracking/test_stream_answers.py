"""What the stream process answers, in this process: as the web process would, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from tests.builders import make_key, make_project
from tracking import ids
from tracking.api import authentication
from tracking.api.stream.app import Application
from tracking.api.stream.hub import Hub
from tracking.api.stream.tail import Tail
from tracking.models import ApiKey, Project
from tracking.services import stream

LONG_AGO = datetime.now(UTC) - timedelta(days=300)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services run in threads whose connections end with them."""

    async def ask(service: Any, *args: Any) -> Any:
        def work() -> Any:
            try:
                return service(*args)
            finally:
                connection.close()

        return await asyncio.get_running_loop().run_in_executor(None, work)

    for name in ("app", "poll", "telling"):
        monkeypatch.setattr(f"tracking.api.stream.{name}.ask", ask)
    authentication.forget()


class Asked:
    """One request to the application; what it sent."""

    def __init__(self, path: str, key: str = "", query: str = "", method: str = "GET", **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        given = {"authorization": f"Bearer {key}", **headers} if key else headers
        scope = {
            "type": "http",
            "path": path,
            "method": method,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        asyncio.run(self._ask(scope))

    async def _ask(self, scope: dict[str, Any]) -> None:
        application = Application()
        application._tail = Tail(application.hub, asyncio.get_running_loop())
        application._tail.started.set()

        async def send(message: Any) -> None:
            self.sent.append(message)

        await asyncio.wait_for(application(scope, asyncio.Event().wait, send), 20)  # type: ignore[arg-type]

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> Any:
        return json.loads(b"".join(message["body"] for message in self.sent[1:]))


@pytest.fixture
def project(transactional_db: None) -> Project:
    return make_project()


def test_a_long_poll_counts_as_a_request_of_its_key(project: Project) -> None:
    """Behind a proxy it does not pass the web process."""
    key = make_key(project)
    ApiKey.objects.update(rate_limit=3)
    path = f"/v1/notifications/{ids.new()}"
    server = Client(headers={"Authorization": f"Bearer {key}"})
    assert server.get(path)["X-RateLimit-Remaining"] == "2"
    found = [Asked(path, key, "wait=0") for _ in range(3)]
    assert [each.status for each in found] == [404, 404, 429]
    assert [each.headers["x-ratelimit-remaining"] for each in found] == ["1", "0", "0"]
    refused, same = found[-1], server.get(path)
    assert refused.headers["x-ratelimit-limit"] == "3" and 1 <= int(refused.headers["retry-after"]) <= 60
    assert (refused.body["type"], same.status_code) == (same.json()["type"], 429)


def test_a_ticket_was_counted_where_it_was_given(project: Project) -> None:
    key = make_key(project)
    ApiKey.objects.update(rate_limit=1)
    path = f"/v1/notifications/{ids.new()}"
    sent_on = Client(headers={"Authorization": f"Bearer {key}"}).get(f"{path}?wait=0")
    answer = Asked(path, query=sent_on["Location"].partition("?")[2])
    assert answer.status == 404 and "x-ratelimit-limit" not in answer.headers


def test_a_purged_message_is_told_as_such(project: Project) -> None:
    Project.objects.update(created_at=LONG_AGO - timedelta(days=30))
    key, path = make_key(project), f"/v1/notifications/{ids.floor(LONG_AGO)}"
    answer, same = Asked(path, key, "wait=1"), Client(headers={"X-API-Key": key}).get(path)
    assert (answer.status, answer.body) == (same.status_code, same.json()) and answer.status == 410
    authentication.forget()
    Project.objects.update(created_at=LONG_AGO + timedelta(days=30))
    assert Asked(path, key, "wait=1").status == 404


def test_a_parameter_that_comes_twice_counts_twice(project: Project) -> None:
    key = make_key(project)
    sent_on = Client(headers={"X-API-Key": key}).get("/v1/stream?channel=email&channel=sms&status=sent")
    assert "channel=email%2Csms&status=sent&" in sent_on["Location"]
    for query in ("channel=fax&channel=email", "channel=email&channel=fax", "last_event_id=1&last_event_id=2"):
        assert Asked("/v1/stream", key, query).status == 400, query


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic eA=="}, {"x-api-key": "pr_x_y"}])
def test_strangers_are_asked_for_a_key(project: Project, headers: dict[str, str]) -> None:
    answer = Asked("/v1/stream", **headers)
    same = Client(headers=headers).get("/v1/stream")
    assert (answer.status, answer.body["type"]) == (401, same.json()["type"])
    assert answer.headers["www-authenticate"] == same["WWW-Authenticate"]
    assert Asked("/v1/stream", method="POST").headers["allow"] == "GET"


def test_a_stream_that_fails_halfway_ends(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client connects again: a second answer inside of the first one would be none."""

    def away(*_: Any) -> Any:
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(stream, "follow", away)
    answer = Asked("/v1/stream", make_key(project))
    assert [message["type"] for message in answer.sent] == ["http.response.start", "http.response.body"]
    assert answer.sent[1]["more_body"]


def test_nothing_ends_the_thread_that_hears_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[object] = []

    def work(tail: Tail, listener: object) -> None:
        worked.append(listener)
        if len(worked) == 1:
            raise ValueError("nobody thought of it")
        tail.stop()

    monkeypatch.setattr(Tail, "_work", work)
    monkeypatch.setattr(Tail, "_pause", lambda _: None)
    monkeypatch.setattr("tracking.wake.Listener", lambda *_: Closing())
    loop = asyncio.new_event_loop()
    Tail(Hub(), loop).run()
    loop.close()
    assert len(worked) == 2


class Closing:
    def close(self) -> None:
        """As a wake.Listener."""
