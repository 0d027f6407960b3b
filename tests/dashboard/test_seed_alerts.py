"""`manage.py seed_alerts`: rules that are valid, work at once, and stay as operators have changed them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.management import call_command

from dashboard import alerts
from dashboard.management.commands.seed_alerts import RULES
from dashboard.models import AlertRule, Incident
from providers.models import ProviderAccount
from tracking.models import Project
from tracking.services import history

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_history_of_the_demonstration_opens_an_incident(monkeypatch):
    """Of its two weeks the last two days, with the whole of the bad campaign."""
    monkeypatch.setattr(history, "CAMPAIGN_SHARE", 0.2)
    call_command("seed_demo", verbosity=0)
    accounts = list(ProviderAccount.objects.order_by("pk"))
    demo = Project.objects.get(code="demo")
    history.write(project=demo, accounts=accounts, days=2, messages=3_000, until=datetime.now(UTC))
    call_command("seed_alerts", verbosity=0)
    for rule in AlertRule.objects.all():
        rule.full_clean()
        alerts.evaluate_one(rule.pk)
    assert not AlertRule.objects.exclude(fault="").exists()
    assert "bounce_high" in set(Incident.objects.values_list("kind", flat=True))


def test_what_is_there_stays():
    call_command("seed_alerts", verbosity=0)
    AlertRule.objects.filter(kind="bounce_high").update(threshold=7)
    call_command("seed_alerts", verbosity=0)
    assert AlertRule.objects.count() == len(RULES)
    assert AlertRule.objects.get(kind="bounce_high").threshold == 7
