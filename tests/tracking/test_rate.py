"""Rate limits: one key's minute, shared by threads and processes, and what callers are told."""

from __future__ import annotations

import base64
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_key, make_project, open_to_pushwoosh
from tests.seeds.live import serve
from tracking import rate
from tracking.models import ApiKey, RateWindow
from tracking.services import keys, logins

pytestmark = pytest.mark.django_db
AT = 1_700_000_000.0  # 20 seconds into a minute


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(AT, tick=False) as traveller:
        yield traveller


def served(count: int, limit: int, key: str = "k") -> int:
    return sum(rate.take(key, limit).allowed for _ in range(count))


@pytest.mark.parametrize("limit", [1, 2, 99, 100, 101, 250, 1000])
def test_no_more_than_the_limit_in_a_minute(clock: Any, limit: int) -> None:
    assert served(limit + 50, limit) == limit
    clock.shift(60)
    assert served(limit + 50, limit) == limit


def test_keys_have_limits_of_their_own(clock: Any) -> None:
    assert served(3, 2, "one") == 2 and served(3, 2, "other") == 2


def test_what_remains_is_told(clock: Any) -> None:
    assert [rate.take("k", 3).remaining for _ in range(4)] == [2, 1, 0, 0]
    rate.forget()  # another process, after the first
    standing = rate.take("k", 5)
    assert standing.allowed is True  # 3 and one refused were taken by the first
    assert (standing.limit, standing.remaining, standing.reset) == (5, 0, 1_700_000_040)
    assert rate.take("k", 5).wait == 40.0


def test_a_process_asks_the_database_once_for_a_hundredth(clock: Any) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert served(300, 30_000) == 300
    assert len(captured) == 1
    with CaptureQueriesContext(connection) as captured:
        assert served(200, 100, "small") == 100
    assert len(captured) == 101  # once it is told that nothing is left, it asks no more


def test_a_clock_that_is_behind_gives_nothing_back(clock: Any) -> None:
    assert served(5, 4) == 4
    rate.forget()
    clock.shift(-60)
    assert served(5, 4) == 0


def test_old_rows_are_forgotten(clock: Any) -> None:
    served(1, 10)
    rate.prune()
    assert RateWindow.objects.count() == 1
    clock.shift(2 * 24 * 3600)
    rate.prune()
    assert RateWindow.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_threads_never_get_more_together() -> None:
    def one(_: int) -> rate.Standing:
        try:
            return rate.take("k", 500)
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        found = Counter((standing.reset, standing.allowed) for standing in pool.map(one, range(700)))
    windows = {reset for reset, _ in found}
    assert all(found[reset, True] <= 500 for reset in windows)
    if len(windows) == 1:  # no minute ended meanwhile
        assert found[windows.pop(), True] >= 500 - 16 * 5


# --- over the API


def ask(key: str, path: str = "/v1/notifications", **kw: Any) -> Any:
    return Client(headers={"Authorization": f"Bearer {key}"}).get(path, **kw)


def test_every_answer_says_how_much_is_left(clock: Any) -> None:
    key = make_key(make_project(), ["send"])
    for path in ("/v1/notifications", "/v1/analytics/performance"):  # refused: the scope is missing
        assert ask(key, path).status_code == 403
    answer = Client(headers={"X-API-Key": key}).put("/v1/notifications")
    headers = {name: answer[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")}
    assert answer.status_code in (403, 405)
    assert headers == {"Limit": "30000", "Remaining": "29997", "Reset": "1700000040"}
    assert "X-RateLimit-Limit" not in Client().get("/v1/notifications")


def test_one_too_many_is_told_when_to_come_again(clock: Any) -> None:
    project = make_project()
    key = keys.create(project=project, name="slow", rate_limit=2)
    assert [ask(key).status_code for _ in range(2)] == [200, 200]
    answer = ask(key)
    assert answer.status_code == 429
    assert (answer["Retry-After"], answer["X-RateLimit-Remaining"], answer["X-RateLimit-Limit"]) == ("40", "0", "2")
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:postroom:rate-limited"
    assert ask(make_key(project)).status_code == 200  # another key of the project
    clock.shift(40)
    assert ask(key).status_code == 200


def test_the_limit_is_a_setting_and_zero_is_none(settings: Any) -> None:
    settings.RATE_LIMIT = 1
    key = make_key(make_project())
    assert {ask(key).status_code for _ in range(3)} >= {429}
    ApiKey.objects.update(rate_limit=0)
    free = keys.create(project=make_project(), name="free", rate_limit=0)
    assert [ask(free).status_code for _ in range(3)] == [200] * 3
    assert "X-RateLimit-Limit" not in ask(free)


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_two_servers_count_together(tmp_path: Path) -> None:
    key = make_key(make_project())
    found: defaultdict[str, list[int]] = defaultdict(list)
    with serve(tmp_path / "one", RATE_LIMIT="60") as one, serve(tmp_path / "two", RATE_LIMIT="60") as two:
        for number in range(90):
            answer = (one, two)[number % 2].request("GET", "/v1/notifications", key=key)
            found[answer.headers["X-RateLimit-Reset"]].append(answer.status_code)
            if answer.status_code == 429:
                assert 1 <= int(answer.headers["Retry-After"]) <= 60
                assert int(answer.headers["X-RateLimit-Reset"]) > time.time() - 1
    for codes in found.values():  # a minute may have ended meanwhile
        assert codes == [200] * min(60, len(codes)) + [429] * max(0, len(codes) - 60)


# --- the other interfaces: the same limit, told in their own form


def test_smsbats_logins_are_limited(settings: Any, clock: Any) -> None:
    settings.RATE_LIMIT = 1
    password = logins.create(project=make_project(), username="u" * 50)
    basic = "Basic " + base64.b64encode(f"{'u' * 50}:{password}".encode()).decode()
    client = Client(headers={"Authorization": basic})
    assert client.get("/bat/message/x").status_code == 404
    refused = client.get("/bat/message/x")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert (refused["Retry-After"], refused["X-RateLimit-Remaining"]) == ("40", "0")


def test_pushwooshs_keys_are_limited(settings: Any, clock: Any) -> None:
    settings.RATE_LIMIT = 1
    project = make_project()
    open_to_pushwoosh(project)
    body = {"request": {"auth": make_key(project)}}
    answers = [Client().post("/json/1.3/getTrackingLog", body, content_type="application/json") for _ in range(2)]
    assert [answer.json()["status_code"] for answer in answers] == [200, 429]
    assert (answers[1].status_code, answers[1]["Retry-After"]) == (429, "40")


def test_users_of_social_plus_are_limited_each_by_themselves(settings: Any, clock: Any) -> None:
    settings.RATE_LIMIT = 1
    key = make_key(make_project())
    tokens = []
    for user in ("ada", "bob"):
        opened = Client(headers={"X-API-Key": key}).post(
            "/api/v5/sessions", {"userId": user, "deviceId": "d"}, content_type="application/json"
        )
        tokens.append(opened.json()["accessToken"])
    ada, bob = (Client(headers={"Authorization": f"Bearer {token}"}) for token in tokens)
    assert ada.get("/api/v3/network-settings/chat").status_code == 200
    refused = ada.get("/api/v3/network-settings/chat")
    assert (refused.status_code, refused.json()["status"], refused["Retry-After"]) == (429, "error", "40")
    assert bob.get("/api/v3/network-settings/chat").status_code == 200


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/notifications", lambda body: body["type"] == "urn:postroom:malformed"),
        ("/api/v1/notifications", lambda body: body["type"] == "urn:postroom:malformed"),
        ("/bat/message/x", lambda body: body["error"]["code"] == "INVALID_REQUEST"),
        ("/json/1.3/getResults", lambda body: body["status_code"] == 400 and body["response"] is None),
        ("/api/v3/channels", lambda body: body["status"] == "error"),
    ],
)
def test_what_no_view_has_seen_is_refused_in_the_interfaces_form(path: str, said: Any) -> None:
    answer = Client(headers={"Host": "elsewhere.example"}).get(path)
    assert answer.status_code == 400 and said(answer.json())
