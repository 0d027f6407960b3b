"""The limit on failed logins, and whose address it counts for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.test import Client

from tests.builders import make_key, make_project
from tests.dashboard.people import text

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"
RIGHT, WRONG = "the-right-word-1", "a-wrong-word-2"


@pytest.fixture(autouse=True)
def user() -> User:
    return User.objects.create_user("olga", password=RIGHT, is_staff=True)


def attempt(password: str, *, name: str = "olga", address: str = "192.0.2.1", **headers: str):
    return Client(REMOTE_ADDR=address).post(LOGIN, {"username": name, "password": password}, headers=headers)


def lock(**kw) -> None:
    for _ in range(5):
        last = attempt(WRONG, **kw)
    assert last.status_code == 429


def test_the_fifth_failure_locks_for_a_quarter_of_an_hour():
    for _ in range(4):
        assert attempt(WRONG).status_code == 200
    locked = attempt(WRONG)
    assert locked.status_code == 429
    assert "15 minutes" in text(locked)
    assert 880 <= int(locked["Retry-After"]) <= 900
    assert attempt(RIGHT).status_code == 429


def test_it_is_the_pair_of_name_and_address():
    lock()
    assert attempt(RIGHT, address="192.0.2.2").status_code == 302
    User.objects.create_user("vera", password=RIGHT, is_staff=True)
    assert attempt(RIGHT, name="vera").status_code == 302


def test_a_success_forgets_the_failures_before():
    for _ in range(4):
        attempt(WRONG)
    assert attempt(RIGHT).status_code == 302
    for _ in range(4):
        assert attempt(WRONG).status_code == 200


def test_the_lock_ends_and_knocking_does_not_make_it_longer():
    lock()
    row = AccessAttempt.objects.get()
    began = row.attempt_time
    attempt(WRONG)
    row.refresh_from_db()
    assert row.attempt_time == began
    AccessAttempt.objects.update(attempt_time=began - timedelta(minutes=10))
    assert "5 minutes" in text(attempt(RIGHT))
    AccessAttempt.objects.update(attempt_time=began - timedelta(minutes=16))
    assert attempt(RIGHT).status_code == 302


def test_the_answer_is_the_same_for_names_that_nobody_has():
    lock(name="nobody")
    assert text(attempt(WRONG, name="nobody")) == text(attempt(WRONG, name="nobody"))


def test_without_a_proxy_of_ours_the_header_is_not_believed():
    for number in range(5):
        last = attempt(WRONG, **{"X-Forwarded-For": f"198.51.100.{number}"})
    assert last.status_code == 429


def test_behind_a_proxy_the_hop_that_it_wrote_counts(settings):
    settings.PROXY_COUNT = 1
    for number in range(5):  # the client writes what it likes to the left
        last = attempt(WRONG, **{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7"})
    assert last.status_code == 429
    assert attempt(RIGHT, **{"X-Forwarded-For": "198.51.100.8"}).status_code == 302
    assert AccessAttempt.objects.get().ip_address == "198.51.100.7"


@pytest.mark.parametrize("header", ["", "nonsense", "999.1.1.1", "<script>", "1.2.3.4:80", ","])
def test_a_header_that_is_no_address_is_left_out(settings, header):
    settings.PROXY_COUNT = 1
    assert attempt(WRONG, **{"X-Forwarded-For": header}).status_code == 200
    assert AccessAttempt.objects.get().ip_address == "192.0.2.1"


@pytest.mark.parametrize("name", ["a\x00b", "<script>alert(1)</script>", "x" * 400, "ä" * 150])
def test_odd_names_are_no_error_of_ours(name):
    for _ in range(6):
        response = attempt(WRONG, name=name)
        assert response.status_code in (200, 429)
        assert "<script>alert" not in text(response)


def test_a_password_is_never_kept():
    attempt(WRONG)
    row = AccessAttempt.objects.get()
    assert WRONG not in f"{row.post_data}{row.get_data}"


def test_api_keys_know_no_such_limit():
    key = make_key(make_project())
    lock()
    for _ in range(7):
        refused = Client(REMOTE_ADDR="192.0.2.1").get("/v1/notifications", headers={"Authorization": "Bearer pr_x_y"})
        assert refused.status_code == 401
    served = Client(REMOTE_ADDR="192.0.2.1").get("/v1/notifications", headers={"Authorization": f"Bearer {key}"})
    assert served.status_code == 200
