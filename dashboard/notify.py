"""Tells of incidents: makes a notification for each channel, and delivers what is due. Called by alerts and incidents
(`tell`, inside their transaction), by the admin (`test`, `resend`) and by dashboard.tasks (`deliver`).

An attempt is on record, with the time of the next one, before anything is sent, and no transaction is open while
something is. So a notification is told at least once: whoever is killed between sending and recording it has it sent
again, with the same webhook-id (or Message-ID) and the same body.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from dashboard import channels
from dashboard.alert_kinds import KINDS, SEVERITIES, shown
from dashboard.models import AlertChannel, AlertNotification, Delivery, Incident, IncidentEvent
from tracking import jobs

TASK = "dashboard.tasks.alert_deliver"
BACK_OFF = (30, 300, 1_800, 7_200)  # seconds after the first attempt, the second …; then it has failed
ATTEMPTS = len(BACK_OFF) + 1
UNDER_WAY = timedelta(minutes=2)  # an attempt that says nothing for so long was killed
CUT = 300  # characters of an error


def tell(incident: Incident, event: IncidentEvent) -> None:
    """Part of the caller's transaction. One for each channel: the same milestone twice is told once."""
    now = datetime.now(UTC)
    payload = _payload(incident, event)
    made = [
        AlertNotification(
            event=event,
            incident=incident,
            channel=channel,
            channel_name=channel.name,
            milestone=event.kind,
            payload=payload,
            next_at=now,
            created_at=now,
        )
        for channel in _listening(incident)
    ]
    if made:
        AlertNotification.objects.bulk_create(made, ignore_conflicts=True)
        jobs.later(TASK)


def _listening(incident: Incident) -> list[AlertChannel]:
    chosen = incident.rule.channels.all() if incident.rule else AlertChannel.objects.none()
    listening = chosen if chosen.exists() else AlertChannel.objects.all()
    enough = SEVERITIES[: SEVERITIES.index(incident.severity) + 1]
    return list(listening.filter(enabled=True, least__in=enough))


def _payload(incident: Incident, event: IncidentEvent) -> dict[str, object]:
    """What docs/alerts.md promises to receivers."""
    return {
        "type": f"incident.{event.kind}",
        "timestamp": event.at.isoformat(),
        "data": {
            "id": incident.pk,
            "url": f"{settings.PUBLIC_URL}{reverse('admin:dashboard_incident_change', args=[incident.pk])}",
            "rule": incident.name,
            "kind": incident.kind,
            "about": incident.subject_name,
            "severity": incident.severity,
            "state": incident.state,
            "unit": KINDS[incident.kind].unit,
            "value": incident.last_value,
            "worst": incident.worst_value,
            "threshold": incident.threshold,
            "opened_at": incident.opened_at.isoformat(),
            "closed_at": incident.closed_at.isoformat() if incident.closed_at else None,
            "who": event.who,
            "text": event.text,
            "summary": _summary(incident, event),
        },
    }


def _summary(incident: Incident, event: IncidentEvent) -> str:
    who = f" by {event.who}" if event.who else ""
    value = shown(incident.kind, incident.last_value)
    limit = incident.threshold_shown
    ended = f", worst {incident.worst_shown}" if event.kind == "closed" else ""
    return f"[{incident.severity}] {incident} – {event.kind}{who}: {value} (threshold {limit}){ended}"


def test(channel: AlertChannel) -> AlertNotification:
    """One attempt, without an incident."""
    now = datetime.now(UTC)
    summary = f"[test] This is Postroom at {settings.PUBLIC_URL}: the channel “{channel.name}” works."
    with transaction.atomic():
        made = AlertNotification.objects.create(
            channel=channel,
            channel_name=channel.name,
            milestone="test",
            payload={"type": "test", "timestamp": now.isoformat(), "data": {"summary": summary, "text": ""}},
            next_at=now,
            created_at=now,
        )
        jobs.later(TASK)
    return made


def resend(notification: AlertNotification) -> bool:
    """Once more from the beginning, under the same id. False where it is under way already."""
    with transaction.atomic():
        ended = AlertNotification.objects.filter(pk=notification.pk).exclude(state=Delivery.WAITING)
        again = ended.update(state=Delivery.WAITING, attempts=0, next_at=datetime.now(UTC), error="")
        if again:
            jobs.later(TASK)
    return bool(again)


# --- delivering


def anything_due() -> bool:
    return AlertNotification.objects.filter(state=Delivery.WAITING, next_at__lte=datetime.now(UTC)).exists()


def deliver(*, seconds: float) -> bool:
    """Send what is due, for a while; whether something was left. A channel that does not work is tried once, so that it
    does not keep the others waiting."""
    until = time.monotonic() + seconds
    broken: set[int] = set()
    while claimed := _claim(broken):
        if not _attempt(claimed) and claimed.channel_id:
            broken.add(claimed.channel_id)
        if time.monotonic() > until:
            return anything_due()
    return False


def _claim(broken: set[int]) -> AlertNotification | None:
    """The next one, with this attempt on record: it is due again only once the attempt must have been killed."""
    now = datetime.now(UTC)
    with transaction.atomic():
        due = AlertNotification.objects.select_for_update(skip_locked=True, of=("self",)).select_related("channel")
        due = due.filter(state=Delivery.WAITING, next_at__lte=now).exclude(channel_id__in=broken)
        found = due.order_by("next_at", "pk").first()
        if found is not None:
            found.attempts += 1
            found.next_at = now + UNDER_WAY
            found.save(update_fields=["attempts", "next_at"])
    return found


def _attempt(found: AlertNotification) -> bool:
    """Whether the channel works."""
    if found.attempts > ATTEMPTS:
        return _end(found, Delivery.FAILED, found.error or "the last attempt was killed: nobody knows what came of it")
    if found.channel is None or not found.channel.enabled:
        return _end(found, Delivery.FAILED, "the channel is switched off, or gone")
    try:
        channels.send(found.channel, found)
    except channels.Refused as refused:
        if refused.gone:
            AlertChannel.objects.filter(pk=found.channel.pk).update(enabled=False, fault=str(refused)[:CUT])
        if refused.final or found.attempts >= ATTEMPTS:
            _end(found, Delivery.FAILED, str(refused))
        else:
            _put_off(found, refused)
        return False
    return _end(found, Delivery.SENT, "")


def _end(found: AlertNotification, state: Delivery, error: str) -> bool:
    now = datetime.now(UTC)
    sent_at = now if state is Delivery.SENT else found.sent_at
    AlertNotification.objects.filter(pk=found.pk).update(state=state, error=error[:CUT], next_at=None, sent_at=sent_at)
    return True


def _put_off(found: AlertNotification, refused: channels.Refused) -> None:
    """Where it was resent meanwhile, or ended by a slower twin of this attempt, that stands."""
    wait = max(BACK_OFF[found.attempts - 1], refused.retry_after or 0.0)
    mine = AlertNotification.objects.filter(pk=found.pk, state=Delivery.WAITING, attempts=found.attempts)
    mine.update(next_at=datetime.now(UTC) + timedelta(seconds=wait), error=str(refused)[:CUT])
