"""The second factor of an operator's login: a time-based code from a device, or a recovery code. Rules, no pages.

After the password a session owes the code where its owner had a device at that time, or where settings.REQUIRE_TOTP
asks everybody for one. Called by the admin site and by second_factor_pages.
"""

from __future__ import annotations

from base64 import b32encode
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

RECOVERY_CODES = 10
_OWED = "second_factor_owed"  # in the session


def remember(request: HttpRequest) -> None:
    """At the login by password: does this session owe a code?"""
    request.session[_OWED] = has_device(request.user)


def owed(request: HttpRequest) -> bool:
    if not (settings.REQUIRE_TOTP or request.session.get(_OWED)):
        return False
    user: Any = request.user  # with what OTPMiddleware adds
    if user.is_verified():
        return False
    return bool(settings.REQUIRE_TOTP) or has_device(user)  # it may have been reset meanwhile


def has_device(user: Any) -> bool:
    return bool(TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists())


@transaction.atomic
def begin(*, user: User) -> TOTPDevice:
    """A device that counts only once a code has confirmed it. One that was begun before is forgotten."""
    TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).delete()
    return TOTPDevice.objects.create(user_id=user.pk, name="authenticator", confirmed=False)


@transaction.atomic
def confirm(*, user: User, code: str) -> TOTPDevice | None:
    """The device that was begun, from now on asked for; None where the code is wrong. It replaces the one before."""
    device = TOTPDevice.objects.select_for_update().filter(user_id=user.pk, confirmed=False).first()
    if device is None or not device.verify_token(_digits(code)):
        return None
    TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).delete()
    device.confirmed = True
    device.save(update_fields=["confirmed"])
    return device


@transaction.atomic
def check(*, user: User, code: str) -> TOTPDevice | StaticDevice | None:
    """The device that accepts the code. Failures make it deaf for a while, longer each time."""
    kind = TOTPDevice if _digits(code).isdecimal() else StaticDevice
    found = kind.objects.select_for_update().filter(user_id=user.pk, confirmed=True).first()
    return found if found is not None and found.verify_token(_digits(code)) else None


def deaf(*, user: User) -> bool:
    """Are codes refused for the moment, right ones too?"""
    found = TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).first()
    return found is not None and not found.verify_is_allowed()[0]


@transaction.atomic
def new_recovery_codes(*, user: User) -> list[str]:
    """Codes that serve once each, instead of the device. Those from before serve no more."""
    StaticDevice.objects.filter(user_id=user.pk).delete()
    device = StaticDevice.objects.create(user_id=user.pk, name="recovery codes")
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=code) for code in codes)
    return codes


def recovery_codes_left(*, user: User) -> int:
    return int(StaticToken.objects.filter(device__user_id=user.pk).count())


@transaction.atomic
def reset(*, user: User) -> bool:
    """Without a second factor from now on; whether there was one."""
    removed, _ = TOTPDevice.objects.filter(user_id=user.pk).delete()
    StaticDevice.objects.filter(user_id=user.pk).delete()
    return bool(removed)


def secret_of(device: TOTPDevice) -> str:
    """As authenticators want it typed."""
    return b32encode(device.bin_key).decode()


def _digits(code: str) -> str:
    return code.replace(" ", "").strip().lower()
