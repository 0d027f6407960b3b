"""What a rule sees at a moment: its value, and of how many messages. Called by dashboard.alerts and by the preview.

Every query is bounded: metrics come from the rollups, the backlog is looked at up to a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from dashboard import scope
from dashboard.alert_kinds import KINDS, breached
from dashboard.models import AlertRule
from providers.models import Circuit, ProviderAccount
from tracking import health, loops, metrics
from tracking.models import Heartbeat, HourCheck

COUNTED = 50_000  # due messages of an account that are looked at
SPOKE = timedelta(days=7)  # an account without any receipt in this time is not expected to send some
STOPPED = timedelta(minutes=3)  # without an evaluation: the workers were not running, their loops need a moment
RECOUNTED = timedelta(hours=24)


class Unreadable(ValueError):
    """The rule cannot be evaluated: its view is no scope (any more), or one that rollups cannot answer for."""


@dataclass(frozen=True, slots=True)
class Reading:
    value: float | None
    volume: int | None = None
    subject: str = ""  # an account's id, where the rule has an incident for each
    name: str = ""
    text: str = ""  # what else is known


def too_bad(rule: AlertRule, reading: Reading) -> bool:
    return breached(
        rule.kind,
        value=reading.value,
        threshold=rule.threshold,
        volume=reading.volume,
        minimum=rule.minimum,
    )


def read(rule: AlertRule, now: datetime) -> list[Reading]:
    """Raises Unreadable."""
    if rule.kind == "circuit":
        return _circuits()
    if rule.kind == "heartbeat":
        return _heartbeats(rule, now)
    if rule.kind == "invariants":
        return _invariants(now)
    if not rule.shape.metric:
        return _backlog(rule, now)
    return series(rule, [now])[0]


def series(rule: AlertRule, ends: Sequence[datetime]) -> list[list[Reading]]:
    """What a rule on metrics sees at each of these moments, as the numbers stand now. Raises Unreadable."""
    _, given = conditions(rule)
    wanted = _scope(rule, given, ends[-1])
    if rule.kind == "anomaly":
        found = metrics.anomalies(wanted, rule.metric, timezone.get_default_timezone(), ends)
        return [[Reading(value, figures.sent)] for value, figures in found]
    if rule.shape.accounts:
        return _silent(wanted, ends)
    of = given.get("failure") or given.get("bounce")
    metric = f"{rule.shape.metric}:{of}" if of else rule.shape.metric
    return [[_reading(rule, metric, each.get(None, metrics.Figures()))] for each in metrics.moving(wanted, ends)]


def conditions(rule: AlertRule) -> tuple[str, dict[str, Any]]:
    """The view's query and its dimensions. Raises Unreadable."""
    if rule.view is None:
        return "", {}
    try:
        found = scope.read(rule.view.query)
    except scope.BadScope as bad:
        raise Unreadable(f"its view “{rule.view}” is not valid any more: {bad}") from None
    if set(found.values) & {"time", "since", "until"}:
        raise Unreadable(f"its view “{rule.view}” has a period; the rule’s window says which messages count")
    if found.rollup is None:
        kept = ", ".join(name for name in scope.ROLLED_UP if name not in ("failure", "bounce"))
        raise Unreadable(f"its view “{rule.view}” asks for more than metrics are kept by: {kept}")
    _check(rule, found.rollup)
    return found.query, found.rollup


def _check(rule: AlertRule, given: dict[str, Any]) -> None:
    for name, kind in (("failure", "failure_high"), ("bounce", "bounce_high")):
        if name in given and rule.kind != kind:
            raise Unreadable(f"“{name}” in its view goes with “{KINDS[kind].name}” only")
    labelled = {"template", "category"} & set(given)
    if labelled and (rule.shape.accounts or not rule.shape.metric or rule.metric == "attempt_success"):
        raise Unreadable(f"{' and '.join(sorted(labelled))} in its view cannot be asked for here")


def _scope(rule: AlertRule, given: dict[str, Any], now: datetime) -> metrics.Scope:
    project, account = given.get("project"), given.get("account")
    return metrics.Scope(
        now - timedelta(minutes=rule.window),
        now,
        project_ids=None if project is None else [project],
        account_ids=None if account is None else [account],
        channel=given.get("channel"),
        template_id=given.get("template"),
        category=given.get("category"),
    )


def _reading(rule: AlertRule, metric: str, figures: metrics.Figures) -> Reading:
    value = figures.value(metric)
    volume = sum(figures.latency) if rule.shape.volume == "timed" else getattr(figures, rule.shape.volume)
    return Reading(_in_unit(value, rule.shape.unit), volume)


def _in_unit(value: float | None, unit: str) -> float | None:
    return value * 100 if value is not None and unit == "%" else value


def _silent(wanted: metrics.Scope, ends: Sequence[datetime]) -> list[list[Reading]]:
    """Each account that has sent receipts before: one that never did is no news."""
    before = metrics.Scope(wanted.until - SPOKE, wanted.until, wanted.project_ids, wanted.channel, wanted.account_ids)
    spoke = {key for key, figures in metrics.by(before, "account").items() if key and figures.attempts_receipted}
    codes = dict(ProviderAccount.objects.filter(pk__in=spoke, enabled=True).values_list("pk", "code"))
    return [
        [
            Reading(_in_unit(figures.receipt_coverage, "%"), figures.attempts_accepted, str(key), codes[int(key)])
            for key, figures in each.items()
            if isinstance(key, int) and key in codes
        ]
        for each in metrics.moving(wanted, ends, "account")
    ]


# --- not from the metrics

_DUE = """
SELECT count(*), min(q.due_at) FROM providers_provideraccount a CROSS JOIN LATERAL (
    SELECT project_id, due_at FROM queue WHERE account_id = a.id AND lease_token IS NULL AND due_at <= %(now)s
    ORDER BY due_at LIMIT %(bound)s) q
WHERE (%(account)s::bigint IS NULL OR a.id = %(account)s) AND (%(channel)s::text IS NULL OR a.channel = %(channel)s)
    AND (%(project)s::bigint IS NULL OR q.project_id = %(project)s)
"""


def _backlog(rule: AlertRule, now: datetime) -> list[Reading]:
    _, given = conditions(rule)
    params = {name: given.get(name) for name in ("project", "account", "channel")}
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {**params, "now": now, "bound": COUNTED})
        count, oldest = cursor.fetchone()
    if rule.kind == "backlog_count":
        return [Reading(float(count))]
    return [Reading((now - oldest).total_seconds() if oldest else 0.0, count)]


def _circuits() -> list[Reading]:
    """Open, or open until a hand-over shows that it works again."""
    circuits = Circuit.objects.filter(open_until__isnull=False, account__enabled=True).select_related("account")
    return [
        Reading(float(each.failures), None, str(each.account_id), each.account.code, each.reason) for each in circuits
    ]


def _heartbeats(rule: AlertRule, now: datetime) -> list[Reading]:
    """After a stop of the workers their loops are given one evaluation's time to come back."""
    if rule.checked_at is None or now - rule.checked_at > STOPPED:
        return []
    beats = dict(Heartbeat.objects.values_list("name", "at"))
    limits = {"tick:0": health.STALE, **{f"{name}:{slot}": health.STALE for name, slot in loops.wanted()}}
    late = [name for name, limit in limits.items() if name not in beats or now - beats[name] > limit]
    return [Reading(float(len(late)), text=", ".join(late))]


def _invariants(now: datetime) -> list[Reading]:
    found = list(HourCheck.objects.filter(checked_at__gt=now - RECOUNTED, differences__gt=0).order_by("hour")[:24])
    text = "; ".join(f"{check.hour.astimezone(UTC):%Y-%m-%d %H:00}: {check.differences:,}" for check in found)
    return [Reading(float(sum(check.differences for check in found)), text=text[:300])]
