"""`manage.py seed_demo`: what the demonstration stands on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.management import call_command

from providers.base import Channel
from providers.models import ProviderAccount
from providers.sandbox import Sandbox
from tracking import ids, retention
from tracking.models import Grant, Message, Project
from tracking.tracker import DeliveryTracker
from tracking.traffic import KINDS

pytestmark = pytest.mark.django_db


def test_every_channel_has_an_account_that_is_granted():
    call_command("seed_demo", verbosity=0)
    granted = Project.objects.get(code="demo").accounts.all()
    assert {account.channel for account in granted} == set(Channel)
    assert {kind.provider for kind in KINDS} - {""} <= {account.code for account in granted}
    for account in granted:
        adapter = account.adapter()
        assert isinstance(adapter, Sandbox)
        assert Sandbox.check(adapter.account.settings) == {}
        assert "hook_secret" not in account.settings
        assert adapter.account.hook_url.endswith(account.hook_token) or account.hook_token in adapter.account.hook_url


def test_a_second_run_changes_nothing_that_operators_changed():
    call_command("seed_demo", verbosity=0)
    account = ProviderAccount.objects.get(code="sandbox-mail")
    secret = account.credentials
    account.settings |= {"profile": "calm"}
    account.save()
    Grant.objects.filter(account__code="sandbox-sms").delete()
    call_command("seed_demo", verbosity=0)
    again = ProviderAccount.objects.get(code="sandbox-mail")
    assert (again.settings["profile"], again.credentials) == ("calm", secret)
    assert ProviderAccount.objects.count() == Grant.objects.count() == 5


def test_the_project_is_as_old_as_its_history():
    """Or its purged messages would be answered as if they had never been, and a tracker would not count them."""
    call_command("seed_demo", verbosity=0)
    call_command("seed_history", days=2, messages=40, verbosity=0)
    project, oldest = Project.objects.get(code="demo"), Message.objects.earliest("pk")
    assert project.created_at <= ids.time_of(oldest.pk)
    now = datetime.now(UTC)
    with time_machine.travel(now + timedelta(days=200)):
        assert retention.was_purged(project.pk, oldest.pk, project.created_at)
    stats = DeliveryTracker(project, "email").get_stats()
    assert stats.total_messages == Message.objects.filter(channel="email").count()
