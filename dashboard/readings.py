"""What a rule sees at a moment: its value, and of how many messages. Called by dashboard.alerts and by the preview.

Every query is bounded: metrics come from the rollups, the backlog is looked at up to a bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.db import connection
from django.utils import timezone

from dashboard import scope
from dashboard.alert_kinds import KINDS, breached
from dashboard.models import AlertRule
from providers.models import Circuit, ProviderAccount
from tracking import health, loops, metrics
from tracking.counters import floor
from tracking.figures import together
from tracking.models import CheckRun, Endpoint, Heartbeat
from tracking.periods import MINUTES

COUNTED = 50_000  # due messages of an account that are looked at
SPOKE = timedelta(days=7)  # an account without any receipt in this time is not expected to send some
STOPPED = timedelta(minutes=3)  # without an evaluation: the workers were not running, their loops need a moment
SWITCHED_OFF = timedelta(days=7)  # for which an endpoint that nobody switched on again is worth a mention
DAY = timedelta(days=1)


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
        return _invariants()
    if rule.kind == "endpoint":
        return _endpoints(now)
    if not rule.shape.metric:
        return _backlog(rule, now)
    return _now(rule, now)


def past(rule: AlertRule, now: datetime) -> list[tuple[datetime, list[Reading]]]:
    """What a rule on metrics would have seen at moments of the last 24 hours, as the numbers stand now. Raises
    Unreadable."""
    step: metrics.Step = "15min" if rule.window % 15 == 0 else "5min"
    if rule.kind == "anomaly" and rule.window >= 60:  # each value of it is a statement over five weeks
        step = "hour"
    width = timedelta(minutes=MINUTES[step])
    last, count = floor(now, width), DAY // width
    ends = [last - width * place for place in range(count - 1, -1, -1)]
    if rule.kind == "anomaly":
        return [(end, _now(rule, end)) for end in ends]
    wanted = replace(_scope(rule, conditions(rule)[1], last), since=ends[0] - timedelta(minutes=rule.window))
    parts = rule.window // MINUTES[step]  # of a window
    if rule.shape.accounts:
        codes = _talkers(wanted)
        found: dict[Any, metrics.Series] = metrics.series_by(wanted, "account", step, UTC)
        lines = [(_moving(line, parts), account) for account, line in found.items() if account in codes]
        return [(end, [_of(rule, each[place], key, codes) for each, key in lines]) for place, end in enumerate(ends)]
    line = _moving(metrics.series(wanted, step, UTC, latency=rule.shape.volume == "timed"), parts)
    metric = _metric(rule, conditions(rule)[1])
    return [(end, [_reading(rule, metric, line[place])]) for place, end in enumerate(ends)]


def _moving(line: metrics.Series, parts: int) -> list[metrics.Figures]:
    """Each so many steps together."""
    figures = [each for _, each in line]
    return [together(figures[end - parts : end]) for end in range(parts, len(figures) + 1)]


def _now(rule: AlertRule, now: datetime) -> list[Reading]:
    _, given = conditions(rule)
    wanted = _scope(rule, given, now)
    if rule.kind == "anomaly":
        value = metrics.anomaly(wanted, rule.metric, timezone.get_default_timezone())
        return [Reading(value, metrics.totals(wanted).sent)]
    if rule.shape.accounts:
        codes = _talkers(wanted)
        found = metrics.by(wanted, "account")
        return [_of(rule, figures, key, codes) for key, figures in found.items() if key in codes]
    return [_reading(rule, _metric(rule, given), metrics.totals(wanted))]


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
    volume: int = getattr(figures, rule.shape.volume)
    return Reading(_in_unit(value, rule.shape.unit), volume)


def _in_unit(value: float | None, unit: str) -> float | None:
    return value * 100 if value is not None and unit == "%" else value


def _metric(rule: AlertRule, given: dict[str, Any]) -> str:
    of = given.get("failure") or given.get("bounce")
    return f"{rule.shape.metric}:{of}" if of else rule.shape.metric


def _of(rule: AlertRule, figures: metrics.Figures, account: Any, codes: dict[Any, str]) -> Reading:
    seen = _reading(rule, rule.shape.metric, figures)
    return replace(seen, subject=str(account), name=codes[account])


def _talkers(wanted: metrics.Scope) -> dict[Any, str]:
    """Accounts that have sent receipts of late, with their codes: one that never did is no news when it is silent."""
    found = metrics.by(replace(wanted, since=wanted.until - SPOKE), "account")
    spoke = [key for key, figures in found.items() if isinstance(key, int) and figures.attempts_receipted]
    return dict(ProviderAccount.objects.filter(pk__in=spoke, enabled=True).values_list("pk", "code"))


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


def _invariants() -> list[Reading]:
    last = CheckRun.objects.filter(finished_at__isnull=False).order_by("-pk").first()
    if last is None:
        return [Reading(0.0)]
    return [Reading(float(last.found), text="; ".join(map(str, last.differences))[:300])]


def _endpoints(now: datetime) -> list[Reading]:
    off = Endpoint.objects.filter(active=False, deleted_at=None, disabled_at__gte=now - SWITCHED_OFF)
    found = list(off.exclude(disabled_reason="").order_by("-disabled_at").select_related("project")[:100])
    named = [f"{each.project.code}: {urlsplit(each.url).hostname} ({each.disabled_reason})" for each in found]
    return [Reading(float(len(found)), text=", ".join(named)[:300])]
