"""What every test shares: the database's set-up, static files without a collectstatic run, and that answers of the API
are what its document says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings as django_settings
from django.test import Client

from tests import agreeing
from tracking import accounts, followers, news, rate, subscribers, wake
from tracking.engagement import projects
from tracking.services import message_webhooks, route


def pytest_configure() -> None:
    django_settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick, for tests alone
    django_settings.MIDDLEWARE.remove("whitenoise.middleware.WhiteNoiseMiddleware")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    yield
    wake.close()  # its connection would keep the test database in use


@pytest.fixture(autouse=True)
def answers_are_as_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "request", agreeing.watched(Client.request))


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    """No test sees the accounts and routes of the one before."""
    accounts.forget()
    route.forget()
    subscribers.forget()
    rate.forget()
    projects.forget()
    followers.forget()
    news.forget()
    message_webhooks.forget()
