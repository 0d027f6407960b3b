"""Rules, channels and numbers for the tests of alerts."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard.models import AlertChannel, AlertRule, Incident
from tracking.models import MetricDelta

_number = itertools.count(1)
NOBODYS = 1_000_000  # a project and an account that no builder makes
SECRET = "whsec_" + "c2VjcmV0" * 5


def make_rule(kind: str = "bounce_high", **kw: Any) -> AlertRule:
    defaults = {"threshold": 10.0, "window": 15, "minimum": 10, "quiet": 10, "severity": "warning"}
    return AlertRule.objects.create(name=kw.pop("name", f"rule {next(_number)}"), kind=kind, **{**defaults, **kw})


def make_channel(kind: str = "webhook", url: str = "https://example.org/hook", **kw: Any) -> AlertChannel:
    channel = AlertChannel(name=kw.pop("name", f"channel {next(_number)}"), kind=kind, **kw)
    if kind != "email":
        channel.secrets = {"url": url, "secret": SECRET}
    channel.save()
    return channel


def count(ago: timedelta = timedelta(minutes=1), **kw: Any) -> None:
    """Counters of a minute, as record appends them."""
    place = {"project_id": NOBODYS, "channel": "email", "account_id": NOBODYS, "kind": "", "label": ""}
    place |= {name: kw.pop(name) for name in place if name in kw}
    minute = (datetime.now(UTC) - ago).replace(second=0, microsecond=0)
    MetricDelta.objects.create(minute=minute, counts=kw, **place)


def incident(rule: AlertRule | None = None) -> Incident:
    """The newest, which the rule's is where one is given."""
    found = Incident.objects.filter(rule=rule) if rule else Incident.objects.all()
    return found.latest("pk")
