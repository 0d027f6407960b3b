"""Evaluates alert rules, each minute, as a job: opens, updates and closes incidents. Called by dashboard.tasks.

One rule is one transaction that holds the rule's lock: two evaluations at once share the rules between them, and a rule
that was just evaluated is left out. Telling is not done here: the rows of what is to be told are part of the
transaction, dashboard.notify delivers them.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import F, Q

from dashboard import incidents, notify, readings
from dashboard.alert_kinds import KINDS, badness, shown
from dashboard.incident_state import Deed, Open, decide
from dashboard.models import AlertReading, AlertRule, Incident, IncidentEvent
from dashboard.readings import Reading

log = logging.getLogger(__name__)
GAP = timedelta(seconds=30)  # a rule evaluated more recently than this waits for the next minute
KEEP_READINGS = timedelta(days=14)
# kind → severity
BUILT_IN = {"circuit": "critical", "heartbeat": "critical", "invariants": "critical", "endpoint": "warning"}


def evaluate(*, seconds: float = 15.0) -> None:
    """All rules; where the time is over, those that have waited longest come first the next time."""
    until = time.monotonic() + seconds
    ensure_built_in()
    incidents.close_orphans(datetime.now(UTC))
    waiting = AlertRule.objects.filter(enabled=True).order_by(F("checked_at").asc(nulls_first=True), "pk")
    for key in list(waiting.values_list("pk", flat=True)):
        if time.monotonic() > until:
            log.warning("alert rules: no time left for all of them")
            return
        evaluate_one(key)


def ensure_built_in() -> None:
    known = set(AlertRule.objects.filter(built_in=True).values_list("kind", flat=True))
    missing = [
        AlertRule(name=KINDS[kind].name, kind=kind, severity=severity, threshold=1, minimum=0, quiet=2, built_in=True)
        for kind, severity in BUILT_IN.items()
        if kind not in known
    ]
    AlertRule.objects.bulk_create(missing, ignore_conflicts=True)


def evaluate_one(rule_id: int) -> None:
    now = datetime.now(UTC)
    with transaction.atomic():
        rules = AlertRule.objects.select_for_update(skip_locked=True, of=("self",)).select_related("view")
        just_now = Q(checked_at__gt=now - GAP, checked_at__lte=now)
        rule = rules.filter(pk=rule_id, enabled=True).exclude(just_now).first()
        if rule is None:
            return
        found, fault = _read(rule, now)
        if not fault:
            _apply(rule, found, now)
        worst = max(found, key=lambda each: badness(rule.kind, each.value or 0.0), default=Reading(None))
        seen = {"checked_at": now, "fault": fault, "value": worst.value, "volume": worst.volume}
        AlertRule.objects.filter(pk=rule.pk).update(**seen)  # no signal: an evaluation is no change of the rule


def _read(rule: AlertRule, now: datetime) -> tuple[list[Reading], str]:
    """What it sees, and why it sees nothing. One rule must not hold up the others."""
    try:
        with transaction.atomic():
            return readings.read(rule, now), ""
    except readings.Unreadable as why:
        return [], str(why)[:300]
    except Exception:  # where the database is gone, what follows says so
        log.exception("alert rule %s", rule.pk)
        return [], "an error of Postroom’s own; its log says more"


def _apply(rule: AlertRule, found: list[Reading], now: datetime) -> None:
    standing = {each.subject: each for each in Incident.objects.select_for_update().filter(rule=rule, closed_at=None)}
    seen = {reading.subject: reading for reading in found}
    for subject in sorted({*standing, *seen}):
        _step(rule, standing.get(subject), seen.get(subject, Reading(None, subject=subject)), now)
    AlertReading.objects.bulk_create(
        AlertReading(rule_id=rule.pk, subject=each.subject, at=now, value=each.value)
        for each in found
        if each.value is not None
    )


def _step(rule: AlertRule, incident: Incident | None, reading: Reading, now: datetime) -> None:
    bad = badness(rule.kind, reading.value or 0.0)
    muted = _is(rule.muted_until, now) or (incident is not None and _is(incident.muted_until, now))
    deed = decide(
        Open(incident.quiet_since, incident.told) if incident else None,
        breached=readings.too_bad(rule, reading),
        badness=bad,
        muted=muted,
        now=now,
        quiet=timedelta(minutes=rule.quiet),
    )
    if deed is Deed.OPEN:
        _open(rule, reading, now, muted)
    elif incident is None or deed is Deed.NOTHING:
        return
    elif deed is Deed.CLOSE:
        incidents.close(incident, now, why=f"Nothing too bad for {rule.quiet} min.", tell=not muted)
    elif deed is Deed.REST:
        incident.quiet_since = incident.quiet_since or now
        incident.save(update_fields=["quiet_since"])
    else:
        _update(incident, reading, deed, now)


def _is(until: datetime | None, now: datetime) -> bool:
    return until is not None and until > now


def _open(rule: AlertRule, reading: Reading, now: datetime, muted: bool) -> None:
    assert reading.value is not None
    incident = Incident.objects.create(
        rule=rule,
        subject=reading.subject,
        subject_name=reading.name,
        name=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        threshold=rule.threshold,
        window=rule.window,
        query=incidents.scope_of(rule, reading.subject),
        opened_at=now,
        last_at=now,
        last_value=reading.value,
        worst_value=reading.value,
        text=reading.text[:300],
    )
    event = incidents.add_event(incident, "opened", now, text=_said(rule, reading))
    if not muted:
        _tell(incident, event, reading.value)


def _update(incident: Incident, reading: Reading, deed: Deed, now: datetime) -> None:
    assert reading.value is not None
    if badness(incident.kind, reading.value) > badness(incident.kind, incident.worst_value):
        incident.worst_value = reading.value
    incident.last_at, incident.last_value, incident.quiet_since = now, reading.value, None
    incident.text = reading.text[:300]
    incident.save(update_fields=["last_at", "last_value", "worst_value", "quiet_since", "text"])
    if deed is Deed.TELL:
        _tell(incident, incident.events.get(kind="opened"), reading.value)
    elif deed is Deed.WORSEN:
        text = f"{shown(incident.kind, reading.value)}: twice as bad as when it was last told."
        _tell(incident, incidents.add_event(incident, "worsened", now, text=text), reading.value)


def _tell(incident: Incident, event: IncidentEvent, value: float) -> None:
    incident.told = badness(incident.kind, value)
    incident.save(update_fields=["told"])
    notify.tell(incident, event)


def _said(rule: AlertRule, reading: Reading) -> str:
    """Bounce rate high: 12.3 % of 1,204 in 15 min; too bad from 5 % on."""
    parts = [shown(rule.kind, reading.value)]
    if rule.shape.windowed:
        parts.append(f"in {rule.get_window_display()}")
    if reading.volume is not None:
        parts.append(f"with {reading.volume:,} counted")
    limit = shown(rule.kind, rule.threshold).removeprefix("+")
    parts.append(f"· too bad {'below' if rule.shape.low else 'from'} {limit}")
    return " ".join(parts) + (f" · {reading.text}" if reading.text else "")


def prune() -> None:
    AlertReading.objects.filter(at__lt=datetime.now(UTC) - KEEP_READINGS).delete()
