"""The server that the tests of the documents talk to, itself."""

from __future__ import annotations

import pytest

from tests.builders import make_account, make_key, make_project
from tests.seeds.live import Live, blocks, run

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def test_it_takes_a_message_that_the_tests_own_workers_send(live: Live) -> None:
    project = make_project()
    make_account(project)
    key = make_key(project)
    body = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}}
    taken = live.request("POST", "/v1/notifications", key=key, json=body)
    assert taken.status_code == 202
    live.work("dispatch")
    assert live.request("GET", f"/v1/notifications/{taken.json()['id']}", key=key).json()["status"] == "sent"


def test_blocks_come_without_the_backticks_and_run() -> None:
    first, *rest = blocks("chatapi-delivery-tracking", "bash")
    assert first.startswith("curl -X POST") and len(rest) == 5
    assert run("bash", "echo yes") == "yes\n"
