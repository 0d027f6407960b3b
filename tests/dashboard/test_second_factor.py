"""The second factor: set up by its owner, asked for at the login, lost and reset."""

from __future__ import annotations

import re
import time
from base64 import b32decode

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from dashboard import second_factor
from tests.dashboard.people import staff, text

pytestmark = pytest.mark.django_db
MINE, CODE = "/admin/second-factor/", "/admin/second-factor/code/"
PASSWORD = "the-right-word-1"


@pytest.fixture
def user() -> User:
    return User.objects.create_superuser("olga", password=PASSWORD)


@pytest.fixture
def client(user) -> Client:
    return log_in()


def log_in(name: str = "olga") -> Client:
    client = Client()
    assert client.post("/admin/login/", {"username": name, "password": PASSWORD}).status_code == 302
    return client


def code_of(secret: str, ahead: int = 0) -> str:
    """What an authenticator shows; `ahead` steps later, as each code serves once."""
    totp = TOTP(b32decode(secret.replace(" ", "")))
    totp.time = time.time() + 30 * ahead
    return f"{totp.token():06}"


def set_up(client: Client) -> tuple[str, list[str]]:
    """The secret, and the recovery codes."""
    shown = text(client.post(MINE, {"action": "begin"}))
    secret = re.search(r'class="secret mono copy">([A-Z2-7 ]+)<', shown)[1]
    done = text(client.post(MINE, {"action": "confirm", "code": code_of(secret)}))
    return secret, re.findall(r"<li>([a-z2-7]{8})</li>", done)


def test_nothing_is_asked_of_those_without_a_device(client):
    assert client.get("/admin/").status_code == 200
    assert "A second step keeps the door shut" in text(client.get(MINE))


def test_from_setting_it_up_on_the_code_is_asked_for(client):
    secret, _ = set_up(client)
    assert client.get("/admin/").status_code == 200  # the session that confirmed it has shown a code
    other = log_in()
    response = other.get("/admin/tracking/message/?status=failed", follow=True)
    assert response.redirect_chain[-1][0].startswith(CODE)
    for url in ("/admin/", "/admin/system/", "/admin/password_change/", MINE):
        assert other.get(url).status_code == 302
    goal = "/admin/tracking/message/?status=failed"
    wrong = other.post(CODE, {"code": "000000", "next": goal})
    assert "not right" in text(wrong)
    time.sleep(1.1)  # a failure makes the device deaf for a second
    right = other.post(CODE, {"code": code_of(secret, ahead=1), "next": goal})
    assert (right.status_code, right["Location"]) == (302, goal)
    assert other.get("/admin/").status_code == 200


def test_a_code_serves_once(client):
    secret, _ = set_up(client)
    assert "not right" in text(log_in().post(CODE, {"code": code_of(secret)}))  # the one that confirmed it


def test_the_secret_and_the_codes_are_shown_once(client, user):
    secret, codes = set_up(client)
    assert len(codes) == second_factor.RECOVERY_CODES
    for url in (MINE, "/admin/", f"/admin/auth/user/{user.pk}/change/", "/admin/auditlog/logentry/"):
        shown = text(client.get(url))
        assert not [hidden for hidden in (secret, secret.replace(" ", ""), *codes) if hidden in shown], url
    answer = client.post(MINE, {"action": "begin"})
    assert "no-store" in answer["Cache-Control"]
    assert TOTPDevice.objects.filter(confirmed=True).count() == 1  # the new one does not count yet


def test_a_wrong_code_confirms_nothing(client):
    client.post(MINE, {"action": "begin"})
    shown = text(client.post(MINE, {"action": "confirm", "code": "123456"}))
    assert "not right" in shown and "data:image" not in shown
    assert not TOTPDevice.objects.filter(confirmed=True).exists()


def test_a_recovery_code_opens_the_door_once(client):
    _, codes = set_up(client)
    other = log_in()
    assert other.post(CODE, {"code": codes[0].upper()}).status_code == 302
    assert other.get("/admin/").status_code == 200
    assert "9 are left" in text(other.get(MINE))
    assert "not right" in text(log_in().post(CODE, {"code": codes[0]}))


def test_new_recovery_codes_replace_the_old(client):
    _, codes = set_up(client)
    fresh = re.findall(r"<li>([a-z2-7]{8})</li>", text(client.post(MINE, {"action": "codes"})))
    assert len(fresh) == 10 and not set(fresh) & set(codes)
    assert "not right" in text(log_in().post(CODE, {"code": codes[1]}))


def test_guessing_makes_the_device_deaf(client):
    secret, _ = set_up(client)
    other = log_in()
    for _ in range(5):
        other.post(CODE, {"code": "000000"})
    shown = text(other.post(CODE, {"code": code_of(secret, ahead=1)}))
    assert "Too many wrong codes" in shown
    assert other.get("/admin/").status_code == 302


def test_who_owes_the_code_cannot_set_up_another_device(client):
    set_up(client)
    other = log_in()
    for action in ("begin", "confirm", "codes", "remove"):
        assert other.post(MINE, {"action": action, "code": "1"})["Location"] == CODE
    assert TOTPDevice.objects.count() == 1


def test_it_is_removed_with_a_code(client):
    secret, _ = set_up(client)
    assert "not right" in text(client.post(MINE, {"action": "remove", "remove-code": "000000"}))
    time.sleep(1.1)
    client.post(MINE, {"action": "remove", "remove-code": code_of(secret, ahead=1)})
    assert not TOTPDevice.objects.exists()
    assert log_in().get("/admin/").status_code == 200


def test_an_administrator_resets_it_and_it_is_on_record(client, user):
    set_up(client)
    waiting = log_in()
    url = reverse("admin:auth_user_reset-second-factor", args=[user.pk])
    assert staff("auth.view_user").post(url).status_code == 403
    assert staff("auth.change_user", "auth.view_user").post(url).status_code == 302
    assert not TOTPDevice.objects.exists()
    assert waiting.get("/admin/").status_code == 200
    assert "reset by an administrator" in text(client.get("/admin/auditlog/logentry/"))


def test_where_it_is_required_nothing_works_before(settings, user):
    settings.REQUIRE_TOTP = "staff"
    client = log_in()
    response = client.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0] == MINE
    assert "Everybody here needs a second step" in text(response)
    assert client.get("/admin/tracking/message/").status_code == 302
    secret, _ = set_up(client)
    assert client.get("/admin/").status_code == 200
    client.post(MINE, {"action": "remove", "remove-code": code_of(secret, ahead=1)})
    assert TOTPDevice.objects.filter(confirmed=True).exists()


def test_pages_that_show_it_keep_to_the_policy(client):
    shown = client.post(MINE, {"action": "begin"})
    assert "script-src 'self'" in shown["Content-Security-Policy"]
    body = text(shown)
    assert " style=" not in body and "<script>" not in body and " onclick" not in body
    assert 'src="data:image/svg+xml' in body


@pytest.mark.parametrize("code", ["", "\x00", "9" * 20, "９９９９９９", "<script>alert(1)</script>", "abcdefgh", "-1"])
def test_odd_codes_are_no_error_of_ours(client, code):
    set_up(client)
    for where, form in ((CODE, {"code": code}), (MINE, {"action": "confirm", "code": code})):
        response = (log_in() if where == CODE else client).post(where, form)
        assert response.status_code == 200
        assert "<script>alert" not in text(response)


def test_it_leads_to_no_foreign_address(client):
    secret, _ = set_up(client)
    response = log_in().post(CODE, {"code": code_of(secret, ahead=1), "next": "https://evil.example/"})
    assert response["Location"] == "/admin/"


def test_one_can_turn_back_at_the_code(client):
    set_up(client)
    other = log_in()
    assert other.post(CODE, {"leave": "1"})["Location"] == "/admin/login/"
    assert "sessionid" not in other.cookies or not other.cookies["sessionid"].value


def test_people_without_a_staff_account_have_no_page():
    User.objects.create_user("guest", password=PASSWORD)
    client = Client()
    client.force_login(User.objects.get(username="guest"))
    for url in (MINE, CODE):
        assert "/admin/login/" in client.get(url)["Location"]
