"""Devices that are pushed to: found, read, and declared valid or invalid. Applications register them over the API."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib import messages as notices
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, audit, filters
from dashboard.admin.readonly import ReadOnlyAdmin
from dashboard.templatetags.postroom import moment, tag
from tracking.models import Device, Project
from tracking.models.push import PLATFORMS
from tracking.services import devices

SWITCH = "tracking.switch_device"
SHORT_TOKEN = 28  # characters of a token that a list shows
_REASONS = {
    devices.MANUAL: "by hand",
    devices.REMOVED: "taken back by the application",
    "invalid_recipient": "refused by the provider",
}


class InvalidateForm(forms.Form):
    """Why nothing is to be sent to a device any more."""

    reason = forms.CharField(max_length=300, label="Why?")


class PlatformFilter(filters.Equals):
    title, parameter_name = "platform", "platform"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in PLATFORMS]


class ValidFilter(filters.Pick):
    title, parameter_name = "token", "token"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("valid", "valid"), ("invalid", "invalid")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(valid=value == "valid")


class ReasonFilter(filters.Equals):
    title, parameter_name = "reason", "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(_REASONS.items())


@admin.register(Device)
class DeviceAdmin(ReadOnlyAdmin):
    list_display = ("shown_token", "platform", "state", "why", "user", "project_shown", "registered")
    list_filter = (filters.ProjectScanFilter, PlatformFilter, ValidFilter, ReasonFilter)
    search_fields = ("token",)
    search_help_text = "A token, a hardware id or a user id, in full."
    empty_text = "No device matches. Applications register them by POST /v1/devices."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        wanted = search_term.strip()
        if not wanted:
            return queryset, False
        # the index of users begins with the project: all of them are named, so that it serves
        projects = list(Project.objects.values_list("pk", flat=True))
        found = Q(token=wanted) | Q(hwid=wanted) | Q(user_id=wanted, project_id__in=projects)
        return queryset.filter(found), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["project"]
        for row in rows:
            row.project_code = known.get(row.project_id, "")

    @admin.display(description="token")
    def shown_token(self, row: Device) -> SafeString:
        short = row.token if len(row.token) <= SHORT_TOKEN else f"{row.token[:SHORT_TOKEN]}…"
        return format_html('<bdi class="mono" title="{}">{}</bdi>', row.token, short)

    @admin.display(description="state")
    def state(self, row: Device) -> SafeString:
        return pill(row)

    @admin.display(description="why")
    def why(self, row: Device) -> str:
        return reason(row) or "–"

    @admin.display(description="user")
    def user(self, row: Device) -> SafeString | str:
        return format_html('<bdi class="clip" title="{}">{}</bdi>', row.user_id, row.user_id) if row.user_id else "–"

    @admin.display(description="project")
    def project_shown(self, row: Any) -> str:
        return str(row.project_code)

    @admin.display(description="registered")
    def registered(self, row: Device) -> SafeString | str:
        return moment(row.registered_at)

    def page(self, request: HttpRequest, found: Device) -> dict[str, Any]:
        return {
            "title": "Device",
            "device": found,
            "pill": pill(found),
            "reason": reason(found),
            "may_switch": request.user.has_perm(SWITCH),
            "form": InvalidateForm(auto_id="invalidate_%s"),
        }

    def get_urls(self) -> list[URLPattern]:
        return [
            actions.url(self, "invalidate", _invalidate, permission=SWITCH),
            actions.url(self, "reactivate", _reactivate, permission=SWITCH),
            *super().get_urls(),
        ]


def pill(device: Device) -> SafeString:
    return tag("delivered", "valid", "✓") if device.valid else tag("failed", "invalid", "✕")


def reason(device: Device) -> str:
    return "" if device.valid else _REASONS.get(device.reason, device.reason.replace("_", " "))


def _invalidate(request: HttpRequest, found: Device) -> None:
    form = InvalidateForm(request.POST)
    if not form.is_valid():
        notices.error(request, "Nothing was changed: say why, in at most 300 characters.")
        return
    devices.invalidate(found, detail=form.cleaned_data["reason"])
    _on_record(found, "False", form.cleaned_data["reason"])
    notices.success(request, "The token is invalid: it is not sent to, until its application registers it again.")


def _reactivate(request: HttpRequest, found: Device) -> None:
    devices.reactivate(found)
    _on_record(found, "True", "")
    notices.success(request, "The token is taken for valid, until a provider refuses it again.")


def _on_record(found: Device, valid: str, why: str) -> None:
    """Names the device by its number: the log outlives an erasure."""
    audit.note(found, audit.UPDATE, f"device {found.pk}", {"valid": valid, **({"why": why} if why else {})})
