"""Operators for the tests of the admin, and what is asked of every page."""

from __future__ import annotations

import itertools

from django.contrib.auth.models import Permission, User
from django.test import Client

_number = itertools.count(1)


def superuser() -> Client:
    return _client(User.objects.create(username="ops", is_staff=True, is_superuser=True))


def staff(*permissions: str) -> Client:
    """Somebody with these permissions alone, each as `app.codename`."""
    user = User.objects.create(username=f"viewer-{next(_number)}", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return _client(user)


def _client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(response: object) -> str:
    content: bytes = response.content  # type: ignore[attr-defined]
    return content.decode()
