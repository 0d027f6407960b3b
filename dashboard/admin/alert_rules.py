"""Alert rules: the list with their state now, the form with its preview, muting."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, alert_preview, chart, incidents, message_list
from dashboard.alert_form import MUTE, MuteForm, RuleForm
from dashboard.alert_kinds import KINDS, example, limit, shown
from dashboard.models import AlertRule, Incident
from dashboard.telling import Telling
from dashboard.templatetags.postroom import moment, tag
from tracking.metrics import DEFINITIONS

TONES = {"critical": ("failed", "▲"), "warning": ("bounced", "!"), "info": ("processing", "i")}
MUTE_RULE = "dashboard.mute_alertrule"


@admin.register(AlertRule)
class AlertRuleAdmin(Telling, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "kind_shown", "state", "seen", "limit", "window_shown", "severity_shown", "checked")
    list_per_page = 100
    show_full_result_count = False
    sortable_by = ()
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        ongoing = Incident.objects.filter(rule=OuterRef("pk"), closed_at=None).order_by()
        counted = ongoing.values("rule").annotate(n=Count("pk")).values("n")
        rules: QuerySet[AlertRule] = super().get_queryset(request)
        return rules.select_related("view").annotate(ongoing=Coalesce(Subquery(counted), 0))

    def has_delete_permission(self, request: HttpRequest, obj: AlertRule | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.built_in)

    @admin.display(description="watches")
    def kind_shown(self, rule: AlertRule) -> SafeString:
        of = f"{rule.metric.replace('_', ' ')} · " if rule.metric else ""
        return format_html('{}<br><span class="quiet">{}{}</span>', rule.shape.name, of, rule.view or "everything")

    @admin.display(description="now")
    def state(self, rule: AlertRule) -> SafeString:
        return state_of(rule)

    @admin.display(description="value")
    def seen(self, rule: AlertRule) -> SafeString:
        volume = "" if rule.volume is None else f"of {rule.volume:,}"
        return format_html('<span class="nowrap">{}</span> <span class="quiet">{}</span>', value_of(rule), volume)

    @admin.display(description="too bad")
    def limit(self, rule: AlertRule) -> SafeString:
        return format_html('<span class="nowrap">{}</span>', limit_of(rule))

    @admin.display(description="window")
    def window_shown(self, rule: AlertRule) -> str:
        return rule.get_window_display() if rule.shape.windowed else "now"

    @admin.display(description="severity")
    def severity_shown(self, rule: AlertRule) -> SafeString:
        return severity(rule.severity)

    @admin.display(description="looked at")
    def checked(self, rule: AlertRule) -> SafeString | str:
        return moment(rule.checked_at) if rule.checked_at else "not yet"

    # --- the form

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        rule = AlertRule() if object_id is None else self.get_object(request, unquote(object_id))
        if rule is None:
            notices.warning(request, f"There is no alert rule “{(object_id or '')[:50]}” (any more).")
            return redirect("admin:dashboard_alertrule_changelist")
        add = object_id is None
        may = self.has_add_permission(request) if add else self.has_change_permission(request, rule)
        if not may and (add or request.method == "POST" or not self.has_view_permission(request, rule)):
            raise PermissionDenied
        was = str(rule)  # a form that is wrong has changed the instance already
        form = RuleForm(request.POST or None, instance=rule, views=message_list.views_for(request))
        valid = request.method == "POST" and form.is_valid()
        if valid and "preview" not in request.POST:
            return self._save(request, form, add)
        for field in () if may else form.fields.values():
            field.disabled = True
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Add an alert rule" if add else was,
            "form": form,
            "rule": rule,
            "add": add,
            "may": may,
            "kinds": [
                (kind, DEFINITIONS.get(kind.metric), example(key)) for key, kind in KINDS.items() if not kind.built_in
            ],
            **(self._now(request, rule) if not add else {}),
        }
        if valid:
            made = alert_preview.preview(rule, datetime.now(UTC))
            drawn = chart.draw(made.points, threshold=rule.threshold)
            context |= {"preview": made, "chart": drawn, "top": shown(rule.kind, drawn.top) if drawn else ""}
            context["limit"] = limit_of(rule)
        return TemplateResponse(request, "admin/dashboard/alertrule/form.html", context)

    def _save(self, request: HttpRequest, form: RuleForm, add: bool) -> HttpResponse:
        with transaction.atomic():
            rule = form.save()
            said = self.construct_change_message(request, form, [], add)  # type: ignore[arg-type]
            (self.log_addition if add else self.log_change)(request, rule, said)
        notices.success(request, f"The rule “{rule}” is saved; it is looked at each minute.")
        return redirect("admin:dashboard_alertrule_changelist")

    def _now(self, request: HttpRequest, rule: AlertRule) -> dict[str, Any]:
        kept = AlertRule.objects.get(pk=rule.pk)  # the form has put its values into the other
        return {
            "kept": kept,
            "ongoing": list(incidents.of_rule(rule)[:20]),
            "value": value_of(kept),
            "kept_limit": limit_of(kept),
            "mute": MUTE,
            "may_mute": request.user.has_perm(MUTE_RULE),
            "may_delete": self.has_delete_permission(request, rule),
        }

    # --- muting

    def get_urls(self) -> list[URLPattern]:
        return [actions.url(self, "mute", self.mute, permission=MUTE_RULE), *super().get_urls()]

    def mute(self, request: HttpRequest, rule: AlertRule) -> None:
        form = MuteForm(request.POST)
        if not form.is_valid():
            notices.error(request, "Choose for how long from the list.")
            return
        incidents.mute_rule(rule.pk, minutes=form.cleaned_data["minutes"])
        done = "Muted" if form.cleaned_data["minutes"] else "Not muted any more"
        self.log_change(request, rule, f"{done}.")
        notices.success(request, f"{done}.")


def severity(name: str) -> SafeString:
    tone, sign = TONES.get(name, ("", "•"))
    return tag(tone, name, sign)


def state_of(rule: AlertRule) -> SafeString:
    """`ongoing`: how many incidents are open."""
    if not rule.enabled:
        return tag("cancelled", "off", "⊘")
    if rule.fault:
        return format_html('<span title="{}">{}</span>', rule.fault, tag("unknown", "cannot be evaluated", "?"))
    ongoing: int = getattr(rule, "ongoing", 0)
    muted = format_html(" {}", tag("cancelled", "muted", "♪")) if rule.is_muted else ""
    if ongoing:
        text = "incident" if ongoing == 1 else f"{ongoing} incidents"
        return format_html("{}{}", tag("failed", text, "▲"), muted)
    pill = tag("delivered", "fine", "✓") if rule.checked_at else tag("pending", "not looked at", "○")
    return format_html("{}{}", pill, muted)


def value_of(rule: AlertRule) -> str:
    return shown(rule.kind, rule.value)


def limit_of(rule: AlertRule) -> str:
    return limit(rule.kind, rule.threshold)
