"""Incidents: what operators do to them, how they close, and which there are. Called by the admin, by alerts and by the
overview."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.db import transaction
from django.db.models import Q, QuerySet

from dashboard import notify, readings
from dashboard.alert_kinds import KINDS
from dashboard.models import AlertRule, Incident, IncidentEvent
from dashboard.scope_form import as_text
from tracking import metrics

MOST = 200  # incidents that the overview is given


class Closed(Exception):
    """The incident has ended meanwhile."""


# --- which there are


def open_incidents(scope: metrics.Scope | None = None) -> list[Incident]:
    """Those that are open, the most severe and newest first; with a scope, those that touch it: an incident without a
    project touches every project."""
    found = Incident.objects.filter(closed_at=None).order_by("-pk")[:MOST]
    return sorted(_touching(found, scope), key=lambda each: -_rank(each.severity))


def incidents_between(since: datetime, until: datetime, scope: metrics.Scope | None = None) -> list[Incident]:
    """Those that were open at some moment of [since, until), oldest first."""
    lasted = Q(closed_at__isnull=True) | Q(closed_at__gt=since)
    found = Incident.objects.filter(lasted, opened_at__lt=until).order_by("-pk")[:MOST]
    return sorted(_touching(found, scope), key=lambda each: each.opened_at)


def _touching(found: Iterable[Incident], scope: metrics.Scope | None) -> list[Incident]:
    if scope is None:
        return list(found)
    wanted: dict[str, set[str] | None] = {
        "project": _texts(scope.project_ids),
        "account": _texts(scope.account_ids),
        "channel": {scope.channel} if scope.channel else None,
        "template": {scope.template_id} if scope.template_id else None,
        "category": {scope.category} if scope.category else None,
    }
    return [each for each in found if _touches(dict(parse_qsl(each.query)), wanted)]


def _touches(query: dict[str, str], wanted: dict[str, set[str] | None]) -> bool:
    return all(query[name] in values for name, values in wanted.items() if values is not None and name in query)


def _texts(values: Iterable[Any] | None) -> set[str] | None:
    return None if values is None else {str(each) for each in values}


def _rank(severity: str) -> int:
    return ("info", "warning", "critical").index(severity)


# --- the messages that are meant


def scope_of(rule: AlertRule, subject: str) -> str:
    """The query of the messages that a rule is about."""
    query, _ = readings.conditions(rule)
    values = dict(parse_qsl(query))
    if subject:
        values["account"] = subject
    return urlencode(sorted(values.items()))


def messages_query(incident: Incident) -> str:
    """The query of the list of messages that matched while it lasted."""
    kind = KINDS[incident.kind]
    values = dict(parse_qsl(incident.query))
    if kind.statuses:
        values["status"] = kind.statuses
    if kind.windowed:
        values["since"] = as_text((incident.opened_at - timedelta(minutes=incident.window)).replace(microsecond=0))
        if incident.closed_at:
            values["until"] = as_text(incident.closed_at.replace(microsecond=0))
    return urlencode(sorted(values.items()))


# --- what happens to them


def add_event(incident: Incident, kind: str, now: datetime, *, text: str = "", who: str = "") -> IncidentEvent:
    return IncidentEvent.objects.create(incident=incident, kind=kind, at=now, text=text[:1_000], who=who)


def close(incident: Incident, now: datetime, *, why: str, tell: bool = True) -> None:
    """Whoever was told of it is told of its end."""
    incident.closed_at = now
    incident.save(update_fields=["closed_at"])
    event = add_event(incident, "closed", now, text=why)
    if tell and incident.told is not None:
        notify.tell(incident, event)


def close_orphans(now: datetime) -> None:
    """Incidents that nobody evaluates any more: their rule is gone, or was switched off."""
    with transaction.atomic():
        orphans = Incident.objects.select_for_update(of=("self",), skip_locked=True).select_related("rule")
        for incident in orphans.filter(Q(rule=None) | Q(rule__enabled=False), closed_at=None)[:MOST]:
            close(incident, now, why="Its rule was switched off." if incident.rule else "Its rule was deleted.")


def acknowledge(incident_id: int, *, who: str, note: str = "") -> bool:
    """Somebody looks after it. False where that was said before. Raises Closed."""
    now = datetime.now(UTC)
    with transaction.atomic():
        incident = _locked(incident_id)
        if incident.acknowledged_at:
            return False
        incident.acknowledged_at, incident.acknowledged_by = now, who
        incident.save(update_fields=["acknowledged_at", "acknowledged_by"])
        event = add_event(incident, "acknowledged", now, text=note, who=who)
        if incident.told is not None and not incident.is_muted:
            notify.tell(incident, event)
    return True


def add_note(incident_id: int, *, who: str, note: str) -> None:
    add_event(Incident.objects.get(pk=incident_id), "note", datetime.now(UTC), text=note, who=who)


def mute(incident_id: int, *, who: str, minutes: int) -> None:
    """Nothing is told of it for that long; 0 ends it. Raises Closed."""
    now = datetime.now(UTC)
    with transaction.atomic():
        incident = _locked(incident_id)
        incident.muted_until = now + timedelta(minutes=minutes) if minutes else None
        incident.save(update_fields=["muted_until"])
        add_event(incident, "muted" if minutes else "unmuted", now, text=_span(minutes), who=who)


def mute_rule(rule_id: int, *, minutes: int) -> None:
    """Its incidents open and close, and nothing is told of them for that long; 0 ends it."""
    until = datetime.now(UTC) + timedelta(minutes=minutes) if minutes else None
    AlertRule.objects.filter(pk=rule_id).update(muted_until=until)


def _span(minutes: int) -> str:
    return "" if not minutes else f"for {minutes // 60} h" if minutes % 60 == 0 else f"for {minutes} min"


def _locked(incident_id: int) -> Incident:
    incident = Incident.objects.select_for_update().get(pk=incident_id)
    if incident.closed_at:
        raise Closed
    return incident


def of_rule(rule: AlertRule) -> QuerySet[Incident]:
    return Incident.objects.filter(rule=rule, closed_at=None)
