"""Incidents: the list, open ones first, and the page with chart, timeline, notifications and buttons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib import messages as notices
from django.contrib.admin.views.main import ChangeList
from django.db import connection
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, chart, incidents, notify
from dashboard.admin.alert_rules import severity
from dashboard.admin.readonly import ReadOnlyAdmin
from dashboard.alert_form import MUTE, MuteForm, NoteForm
from dashboard.alert_kinds import KINDS, SEVERITIES, shown
from dashboard.filters import Equals, Pick
from dashboard.models import AlertRule, Incident
from dashboard.telling import TellingChangeList
from dashboard.templatetags.postroom import moment, tag

ACKNOWLEDGE, MUTE_INCIDENT = "dashboard.acknowledge_incident", "dashboard.mute_incident"
RESEND = "dashboard.resend_alertnotification"
STATES = {"open": ("failed", "▲"), "acknowledged": ("bounced", "◉"), "closed": ("delivered", "✓")}
POINTS = 120  # of a chart
LINES = 200  # of a timeline, and notifications
BEFORE = timedelta(hours=1)
GAP = timedelta(minutes=5)  # without a value: the line is broken
# The worst value of each of at most so many steps.
_POINTS = """
SELECT date_bin(%s, at, %s) AS step, {worst}(value) FROM dashboard_alertreading
WHERE rule_id = %s AND subject = %s AND at >= %s AND at <= %s GROUP BY 1 ORDER BY 1
"""


class StatePick(Pick):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state) for state in STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return {
            "open": queryset.filter(closed_at=None, acknowledged_at=None),
            "acknowledged": queryset.filter(closed_at=None, acknowledged_at__isnull=False),
            "closed": queryset.filter(closed_at__isnull=False),
        }.get(self.value() or "", queryset)


class SeverityPick(Equals):
    title, parameter_name = "severity", "severity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in SEVERITIES]


class RulePick(Equals):
    title, parameter_name, column = "rule", "rule", "rule_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(AlertRule.objects.values_list("pk", "name")[:500])


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    change_list_template = "admin/dashboard/incident/list.html"
    list_display = ("about", "shown_state", "shown_severity", "value", "worst", "opened", "lasted")
    list_filter = (StatePick, SeverityPick, RulePick)
    list_per_page = 50
    ordering = (F("closed_at").desc(nulls_first=True), "-pk")
    empty_text = "No incident: no rule has found anything too bad."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TellingChangeList

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="incident")
    def about(self, incident: Incident) -> SafeString:
        return format_html("<bdi>{}</bdi>", str(incident))

    @admin.display(description="state")
    def shown_state(self, incident: Incident) -> SafeString:
        return state(incident)

    @admin.display(description="severity")
    def shown_severity(self, incident: Incident) -> SafeString:
        return severity(incident.severity)

    @admin.display(description="last")
    def value(self, incident: Incident) -> SafeString:
        return format_html('<span class="nowrap">{}</span>', incident.last_shown)

    @admin.display(description="worst")
    def worst(self, incident: Incident) -> SafeString:
        return format_html('<span class="nowrap">{}</span>', incident.worst_shown)

    @admin.display(description="since")
    def opened(self, incident: Incident) -> SafeString | str:
        return moment(incident.opened_at)

    @admin.display(description="lasted")
    def lasted(self, incident: Incident) -> str:
        return incident.lasted

    # --- one incident

    def page(self, request: HttpRequest, found: Incident) -> dict[str, Any]:
        drawn = chart.draw(_points(found), threshold=found.threshold, opened=found.opened_at, closed=found.closed_at)
        kind = KINDS[found.kind]
        return {
            "title": str(found),
            "incident": found,
            "kind": kind,
            "state": state(found),
            "severity": severity(found.severity),
            "chart": drawn,
            "top": shown(found.kind, drawn.top) if drawn else "",
            "limit": f"{'below' if kind.low else 'from'} {found.threshold_shown}",
            "events": list(found.events.order_by("-pk")[:LINES]),
            "told": list(found.notifications.order_by("-pk")[:LINES]),
            "query": incidents.messages_query(found),
            "rule": found.rule,
            "mute": MUTE,
            "may_acknowledge": request.user.has_perm(ACKNOWLEDGE),
            "may_mute": request.user.has_perm(MUTE_INCIDENT),
            "may_resend": request.user.has_perm(RESEND),
        }

    def get_urls(self) -> list[URLPattern]:
        return [
            actions.url(self, "acknowledge", self.acknowledge, permission=ACKNOWLEDGE),
            actions.url(self, "note", self.note, permission=ACKNOWLEDGE),
            actions.url(self, "mute", self.mute, permission=MUTE_INCIDENT),
            actions.url(self, "resend", self.resend, permission=RESEND),
            *super().get_urls(),
        ]

    def acknowledge(self, request: HttpRequest, incident: Incident) -> None:
        form = NoteForm(request.POST)
        if not form.is_valid():
            _say_wrong(request, form)
            return
        try:
            new = incidents.acknowledge(incident.pk, who=_who(request), note=form.cleaned_data["note"])
        except incidents.Closed:
            notices.warning(request, "The incident has ended meanwhile.")
            return
        if new:
            notices.success(request, "Acknowledged: everybody sees that you look after it.")
        else:
            notices.warning(request, "Somebody has acknowledged it already.")

    def note(self, request: HttpRequest, incident: Incident) -> None:
        form = NoteForm(request.POST)
        if not form.is_valid() or not form.cleaned_data["note"]:
            _say_wrong(request, form, "The note is empty.")
            return
        incidents.add_note(incident.pk, who=_who(request), note=form.cleaned_data["note"])
        notices.success(request, "The note stands in the timeline.")

    def mute(self, request: HttpRequest, incident: Incident) -> None:
        form = MuteForm(request.POST)
        if not form.is_valid():
            notices.error(request, "Choose for how long from the list.")
            return
        try:
            incidents.mute(incident.pk, who=_who(request), minutes=form.cleaned_data["minutes"])
        except incidents.Closed:
            notices.warning(request, "The incident has ended meanwhile.")
            return
        notices.success(request, "Muted." if form.cleaned_data["minutes"] else "Not muted any more.")

    def resend(self, request: HttpRequest, incident: Incident) -> None:
        try:
            key = UUID(request.POST.get("notification", ""))
        except ValueError:
            key = UUID(int=0)
        found = incident.notifications.filter(pk=key).first()
        if found is None:
            notices.error(request, "There is no such notification.")
        elif notify.resend(found):
            notices.success(request, f"It is sent again through {found.channel_name}.")
        else:
            notices.warning(request, "It is still being sent.")


def state(incident: Incident) -> SafeString:
    tone, sign = STATES[incident.state]
    muted = format_html(" {}", tag("cancelled", "muted", "♪")) if incident.is_muted else ""
    return format_html("{}{}", tag(tone, incident.state, sign), muted)


def _who(request: HttpRequest) -> str:
    return request.user.get_username()


def _say_wrong(request: HttpRequest, form: NoteForm, otherwise: str = "") -> None:
    texts = [str(text) for errors in form.errors.values() for text in errors]
    notices.error(request, f"Note: {' '.join(texts)}" if texts else otherwise)


def _points(incident: Incident) -> list[tuple[datetime, float | None]]:
    """What the rule saw, from a while before until a while after; where it saw nothing, nothing."""
    if incident.rule_id is None:
        return []
    ended = incident.closed_at or datetime.now(UTC)
    since = incident.opened_at - max(BEFORE, timedelta(minutes=incident.window))
    until = min(ended + BEFORE, datetime.now(UTC))
    step = max(timedelta(minutes=2), (until - since) / POINTS)
    worst = "min" if KINDS[incident.kind].low else "max"
    with connection.cursor() as cursor:
        values: list[Any] = [step, since, incident.rule_id, incident.subject, since, until]
        cursor.execute(_POINTS.format(worst=worst), values)
        seen: list[tuple[datetime, float]] = cursor.fetchall()
    points: list[tuple[datetime, float | None]] = []
    for at, value in seen:
        if points and at - points[-1][0] > max(GAP, 2 * step):
            points.append((at, None))
        points.append((at, value))
    return points
