"""`manage.py seed_demo`: what the demonstration stands on."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from providers.base import Channel
from providers.models import ProviderAccount
from providers.sandbox import Sandbox
from tracking.models import Grant, Project
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
