"""Two values valid at once: the rotation of whatever proves receipts, for every adapter."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from providers import registry, rotation, signing
from providers.base import PREVIOUS, HookRequest, VerificationFailed
from providers.email.verp import Verp
from providers.models import ProviderAccount
from providers.sandbox import wire
from tests.builders import make_account
from tests.providers.contract import ECHO
from tracking import accounts

pytestmark = pytest.mark.django_db
BODY = b'{"events": []}'
OLD, NEW = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def request(headers: dict[str, str], body: bytes = BODY) -> HookRequest:
    lower = {name.lower(): value for name, value in headers.items()}
    return HookRequest("POST", "https://postroom.example/hooks/x", lower, body, datetime.now(UTC))


def of_mailgun(secret: str) -> HookRequest:
    stamp, token = str(int(datetime.now(UTC).timestamp())), "t" * 50
    sign = hmac.new(secret.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    event = {"signature": {"timestamp": stamp, "token": token, "signature": sign}, "event-data": {"event": "opened"}}
    return request({"content-type": "application/json"}, json.dumps(event).encode())


def of_gateway(secret: str) -> HookRequest:
    return request(signing.headers([secret], identifier="e1", at=datetime.now(UTC), body=BODY))


def of_sandbox(secret: str) -> HookRequest:
    return request(wire.sign(secret, BODY, int(datetime.now(UTC).timestamp())))


def basic(user: str) -> Callable[[str], HookRequest]:
    return lambda secret: request({"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()})


# (kind, what rotates) → a genuine request proved by that secret; None where it proves return paths instead
GENUINE: dict[tuple[str, str], Callable[[str], HookRequest] | None] = {
    ("smtp", "verp_secret"): None,
    ("smtp", "hook_secret"): basic("anybody"),
    ("mailgun", "webhook_signing_key"): of_mailgun,
    ("postmark", "hook_password"): basic("hook"),
    ("http", "secret"): of_gateway,
    ("sandbox", "hook_secret"): of_sandbox,
}
SETTINGS = {
    "smtp": {"host": "mx.example.com"},
    "mailgun": {"sender_domain": "example.com"},
    "postmark": {"hook_username": "hook"},
    "http": {"url": "https://gateway.example.com/"},
}
PROVING = [(*key, signed) for key, signed in GENUINE.items() if signed]


def account_of(kind: str, name: str) -> ProviderAccount:
    return make_account(kind=kind, settings=SETTINGS.get(kind, {}), credentials={name: OLD})


def fresh(account: ProviderAccount) -> ProviderAccount:
    return ProviderAccount.objects.get(pk=account.pk)


def refuses(account: ProviderAccount, asked: HookRequest) -> None:
    with pytest.raises(VerificationFailed):
        fresh(account).adapter().verify(asked)


def test_every_adapter_with_a_hook_can_rotate_what_proves_its_receipts():
    found = {
        (kind, setting.name)
        for kind in registry.kinds()
        for setting in registry.adapter(kind).settings
        if setting.rotates
    }
    assert found == set(GENUINE)
    assert {kind for kind, _ in found} == {kind for kind in registry.kinds() if registry.adapter(kind).sends_receipts}
    for kind, name in found:
        (setting,) = (each for each in registry.adapter(kind).settings if each.name == name)
        assert setting.secret
        assert not [each for each in registry.adapter(kind).settings if each.name.endswith(PREVIOUS)]


@pytest.mark.parametrize(("kind", "name", "signed"), PROVING)
def test_both_are_accepted_until_the_old_one_is_ended(kind, name, signed):
    account = account_of(kind, name)
    refuses(account, signed(NEW))
    assert rotation.rotate(account_id=account.pk, name=name, days=7, value=NEW) == NEW
    for secret in (OLD, NEW):
        fresh(account).adapter().verify(signed(secret))
    refuses(account, signed(OLD[:-4] + "AAA="))
    rotation.end(account_id=account.pk, name=name)
    fresh(account).adapter().verify(signed(NEW))
    refuses(account, signed(OLD))
    assert fresh(account).credentials == {name: NEW}


@pytest.mark.parametrize(("kind", "name", "signed"), PROVING)
def test_the_old_one_ends_by_itself_and_is_erased(kind, name, signed):
    account = account_of(kind, name)
    rotation.rotate(account_id=account.pk, name=name, days=3, value=NEW)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=3, seconds=-5), tick=False):
        fresh(account).adapter().verify(signed(OLD))
        assert rotation.forget_expired() == 0
    with time_machine.travel(datetime.now(UTC) + timedelta(days=3, seconds=5), tick=False):
        refuses(account, signed(OLD))
        fresh(account).adapter().verify(signed(NEW))
        assert rotation.forget_expired() == 1
    assert fresh(account).credentials == {name: NEW}
    assert fresh(account).previous_until == {}


@pytest.mark.parametrize(("kind", "name"), GENUINE)
def test_a_secret_that_is_made_here_is_one_that_the_adapter_takes(kind, name):
    account = account_of(kind, name)
    adapter = registry.adapter(kind)
    if not adapter.new_secret(name):
        with pytest.raises(rotation.Refused, match="must be entered"):
            rotation.rotate(account_id=account.pk, name=name, days=7)
        return
    new = rotation.rotate(account_id=account.pk, name=name, days=7)
    assert new != OLD
    assert name not in adapter.check({**account.settings, name: new})
    if signed := GENUINE[kind, name]:
        fresh(account).adapter().verify(signed(new))


def test_return_paths_of_both_secrets_are_read():
    account = make_account(kind="smtp", settings={"return_path": "b@example.com"}, credentials={"verp_secret": OLD})
    rotation.rotate(account_id=account.pk, name="verp_secret", days=7, value=NEW)
    verp = fresh(account).adapter()._verp()
    assert verp.encode(ECHO) == Verp("b@example.com", NEW).encode(ECHO)
    assert [verp.decode(Verp("b@example.com", secret).encode(ECHO)) for secret in (OLD, NEW, "x" * 20)] == [
        ECHO,
        ECHO,
        "",
    ]


def test_the_hooks_address_rotates_too():
    account = make_account()
    before = account.hook_token
    address = rotation.rotate(account_id=account.pk, name=rotation.HOOK_TOKEN, days=7)
    after = fresh(account).hook_token
    assert address.endswith(after) and after != before
    accounts.forget()
    assert accounts.by_token(before).account.pk == accounts.by_token(after).account.pk == account.pk
    rotation.end(account_id=account.pk, name=rotation.HOOK_TOKEN)
    accounts.forget()
    assert accounts.by_token(before) is None
    assert accounts.by_token(after) is not None


def test_a_second_rotation_never_pushes_out_the_one_that_the_provider_still_uses():
    account = account_of("sandbox", "hook_secret")
    rotation.rotate(account_id=account.pk, name="hook_secret", days=7)
    with pytest.raises(rotation.Refused, match="still accepted"):
        rotation.rotate(account_id=account.pk, name="hook_secret", days=7)
    fresh(account).adapter().verify(of_sandbox(OLD))


@pytest.mark.parametrize(
    ("kind", "name", "value", "says"),
    [
        ("sandbox", "hook_secret", OLD, "used already"),
        ("http", "secret", "short", "not base64|shorter"),
        ("smtp", "hook_secret", "short", "at least 16"),
        ("sandbox", "profile", "calm", "nothing of that name"),
        ("sandbox", "nonsense", "x", "nothing of that name"),
    ],
)
def test_what_is_refused_changes_nothing(kind, name, value, says):
    rotating = name if name != "profile" and name != "nonsense" else "hook_secret"
    account = account_of(kind, rotating)
    with pytest.raises(rotation.Refused, match=says):
        rotation.rotate(account_id=account.pk, name=name, days=7, value=value)
    assert fresh(account).credentials == {rotating: OLD}
    assert fresh(account).previous_until == {}
