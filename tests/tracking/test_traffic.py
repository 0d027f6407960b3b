"""The made-up traffic: its shape, and how the command behaves towards an API that is busy, away or refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import orjson
import phonenumbers
import pytest
import requests
from django.core.management.base import CommandError
from werkzeug import Request, Response

from providers.base import Channel
from providers.sandbox.profile import SCENARIO_OF_DIGITS, scenario_of
from tracking import schema, traffic
from tracking.management.commands import generate_traffic
from tracking.management.commands.generate_traffic import Sender, _retry_after
from tracking.traffic import KINDS, Traffic, rhythm

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


def parcels(count: int, seed: int = 1) -> list[traffic.Parcel]:
    supply = Traffic(Random(seed))
    return [supply.next(NOW) for _ in range(count)]


def notifications(count: int = 3000) -> list[traffic.Notification]:
    return [one for parcel in parcels(count) if not parcel.malformed for one in parcel.notifications]


class TestShape:
    def test_the_same_seed_makes_the_same_messages(self):
        assert parcels(100) == parcels(100) != parcels(100, seed=2)

    def test_all_sorts_are_among_it(self):
        made = notifications()
        assert {one["channel"] for one in made} == set(Channel)
        assert {one["category"] for one in made} == {kind.category for kind in KINDS}
        forced = Counter(scenario_of(one["recipient"]) for one in made)
        assert {"bounce", "soft", "permanent", "retry", "down"} == forced.keys() - {""}
        assert 0.05 < 1 - forced[""] / len(made) < 0.15
        assert any("provider" in one for one in made)

    def test_forced_fates_are_the_sandbox_s(self):
        for scenario, digits, _ in (*traffic.FORCED, (*traffic.HOPELESS, 0)):
            assert SCENARIO_OF_DIGITS[digits] == scenario

    def test_numbers_are_valid(self):
        for one in notifications():
            if one["channel"] == "sms":
                assert phonenumbers.is_valid_number(phonenumbers.parse(one["recipient"])), one["recipient"]

    def test_the_api_s_own_check_refuses_only_what_is_malformed_on_purpose(self):
        for parcel in parcels(1500):
            for one in parcel.notifications:
                with pytest.raises(schema.Invalid) if parcel.malformed else nullcontext():
                    schema.parse(one, region="", now=NOW, kept=timedelta(days=30), single=parcel.kind.campaign)

    def test_external_ids_are_all_different(self):
        made = notifications()
        assert len({one["external_id"] for one in made}) == len(made)

    def test_some_are_scheduled_and_some_expire_but_none_does_both(self):
        made = notifications()
        scheduled = [datetime.fromisoformat(one["scheduled_at"]) for one in made if "scheduled_at" in one]
        expiring = [datetime.fromisoformat(one["expires_at"]) for one in made if "expires_at" in one]
        assert 30 < len(scheduled) < len(made) / 10 and len(expiring) > 100
        assert all(NOW < moment < NOW + timedelta(minutes=15) for moment in scheduled)
        assert all(moment > NOW for moment in expiring)
        assert not any("scheduled_at" in one and "expires_at" in one for one in made)

    def test_campaigns_go_out_in_batches(self):
        batches = [parcel for parcel in parcels(3000) if parcel.kind.campaign]
        assert len(batches) > 20
        assert all(parcel.path.endswith("/batch") and len(parcel.body["notifications"]) >= 2 for parcel in batches)

    def test_some_are_malformed_on_purpose(self):
        assert 2 < sum(parcel.malformed for parcel in parcels(3000)) < 40

    def test_a_dropped_route_is_not_used_again(self):
        supply = Traffic(Random(1))
        supply.drop(next(kind for kind in KINDS if kind.provider))
        supply.drop(next(kind for kind in KINDS if kind.channel == "chat"))
        made = [supply.next(NOW) for _ in range(500)]
        assert {parcel.kind.channel for parcel in made} == {"email", "sms", "push"}
        assert not any(parcel.kind.provider for parcel in made)

    def test_the_rhythm_swings_around_one(self):
        monday = datetime(2026, 3, 2, tzinfo=UTC)
        values = [rhythm(monday + timedelta(minutes=minute)) for minute in range(7 * 24 * 60)]
        assert abs(sum(values) / len(values) - 1) < 0.02
        assert min(values) < 0.3 and max(values) > 1.5


class Api:
    """Takes what the generator sends; `answers` are given first, one a request."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[str, str, dict[str, object]]] = []  # path, idempotency key, body
        self.times: list[float] = []
        self.messages = 0
        self.refused: dict[str, int] = {}

    def __call__(self, request: Request) -> Response:
        assert request.headers["Authorization"] == "Bearer pr_x_y"
        body = orjson.loads(request.get_data())
        self.times.append(time.monotonic())
        self.seen.append((request.path, request.headers["Idempotency-Key"], body))
        if self.answers:
            return self.answers.pop(0)
        self.messages += len(body.get("notifications", [body]))
        first = body["notifications"][0] if "notifications" in body else body
        return Response("{}", status=self.refused.get(first["channel"], 202))


def run(httpserver, api: Api, *, rate: float = 200, duration: float = 1.0, seed: int = 1) -> list[str]:
    httpserver.expect_request("/v1/notifications").respond_with_handler(api)
    httpserver.expect_request("/v1/notifications/batch").respond_with_handler(api)
    said: list[str] = []
    sender = Sender(url=httpserver.url_for("").rstrip("/"), key="pr_x_y", say=said.append)
    sender.run(Traffic(Random(seed), campaign_size=5), rates=(rate, rate), duration=duration)
    return said


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the tests run, the rate is the mean one."""
    monkeypatch.setattr(generate_traffic, "rhythm", lambda moment: 1.0)


@pytest.mark.usefixtures("noon")
class TestCommand:
    def test_it_keeps_its_rate_and_ends_in_time(self, httpserver):
        api, started = Api(), time.monotonic()
        run(httpserver, api, rate=40, duration=3)
        assert 3 <= time.monotonic() - started < 4
        assert 90 < api.messages < 150
        assert len({key for _, key, _ in api.seen}) == len(api.seen)

    @pytest.mark.parametrize("status", [429, 503])
    def test_it_waits_as_long_as_it_is_asked_to_and_sends_the_same_again(self, httpserver, status):
        api = Api(Response(status=status, headers={"Retry-After": "1"}))
        run(httpserver, api, duration=1.5)
        assert api.seen[0] == api.seen[1]
        assert api.times[1] - api.times[0] >= 1
        assert api.seen[2][1] != api.seen[1][1]

    def test_a_channel_without_an_account_is_dropped_with_one_line(self, httpserver):
        api = Api()
        api.refused["chat"] = 422
        said = run(httpserver, api, duration=2)
        assert sum("chat" in line for line in said) == 1
        assert sum(body.get("channel") == "chat" for _, _, body in api.seen) == 3

    def test_a_refused_key_ends_it(self, httpserver):
        with pytest.raises(CommandError, match="401"):
            run(httpserver, Api(Response(status=401)))

    def test_nothing_left_to_send_on_ends_it(self, httpserver):
        api = Api()
        api.refused = dict.fromkeys(("email", "sms", "push", "chat"), 422)
        with pytest.raises(CommandError, match="no channel"):
            run(httpserver, api, duration=5)


@pytest.mark.processes
class TestProcess:
    def start(self, url: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", "generate_traffic", "--url", url, "--key", "pr_x_y", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_outlasts_an_api_that_is_away_and_stops_cleanly(self, httpserver, number):
        taken = threading.Semaphore(0)

        def handler(request: Request) -> Response:
            taken.release()
            return Response("{}", status=202)

        httpserver.expect_request("/v1/notifications").respond_with_handler(handler)
        httpserver.expect_request("/v1/notifications/batch").respond_with_handler(handler)
        url = httpserver.url_for("").rstrip("/")
        httpserver.stop()
        process = self.start(url, "--rate", "50")
        try:
            assert process.stdout and "no answer" in process.stdout.readline()
            httpserver.start()
            assert all(taken.acquire(timeout=30) for _ in range(20))
            os.kill(process.pid, number)
            assert process.wait(timeout=5) == 0
            assert "sent" in process.stdout.read()
        finally:
            process.kill()
            process.wait()
            if not httpserver.is_running():
                httpserver.start()


def test_a_date_in_retry_after_is_left_to_the_back_off():
    answer = requests.Response()
    answer.headers["Retry-After"] = "Fri, 01 May 2026 12:00:00 GMT"
    assert _retry_after(answer) is None
