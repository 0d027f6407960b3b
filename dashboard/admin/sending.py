"""What holds sending back: the suppression list and the switch."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.contrib.admin.models import DELETION, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import audit, filters, telling
from dashboard.admin.addresses import AddressAdmin
from dashboard.forms import LiftForm, SuppressionForm, SwitchForm
from dashboard.templatetags.postroom import moment
from tracking import wake
from tracking.models import Project, Suppression, Switch
from tracking.services import suppress


@admin.register(Suppression)
class SuppressionAdmin(AddressAdmin):
    form = SuppressionForm
    list_display = ("shown_address", "channel", "project_code", "shown_reason", "message", "created")
    list_filter = (filters.ProjectScanFilter, filters.ChannelFilter, filters.ReasonFilter)
    empty_text = "Nobody is suppressed. Hard bounces, complaints and unsubscribes put recipients here."
    fields = ("project", "channel", "address", "note")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("tracking.add_suppression"))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # an entry is added or lifted

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("tracking.delete_suppression"))

    @admin.display(description="reason")
    def shown_reason(self, entry: Suppression) -> str:
        return entry.reason.replace("_", " ")

    @admin.display(description="message", empty_value="–")
    def message(self, entry: Suppression) -> SafeString | None:
        if entry.message_id is None:
            return None
        url = reverse("admin:tracking_message_change", args=[entry.message_id])
        return format_html('<a href="{}" class="mono">{}</a>', url, str(entry.message_id)[:13])

    @admin.display(description="since")
    def created(self, entry: Suppression) -> SafeString | str:
        return moment(entry.created_at)

    def page(self, request: HttpRequest, found: Suppression) -> dict[str, Any]:
        return {
            "title": str(found),
            "project": Project.objects.filter(pk=found.project_id).first(),
            "reason": found.reason.replace("_", " "),
            "can_lift": self.has_delete_permission(request, found),
            "lift_form": LiftForm(),
        }

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """Lifting: the address may be sent to again. By POST, with a reason that stays on record."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        found = self._found(object_id)
        if found is None:
            notices.warning(request, "It is not on the list (any more).")
            return redirect("admin:tracking_suppression_changelist")
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = LiftForm(request.POST)
        if not form.is_valid():
            notices.error(request, f"Reason: {' '.join(map(str, form.errors['reason']))}")
            return redirect("admin:tracking_suppression_change", found.pk)
        why = f"Lifted: {form.cleaned_data['reason']}"
        nameless: Any = [_nameless(found)]
        LogEntry.objects.log_actions(request.user.pk or 0, nameless, DELETION, change_message=why, single_object=True)
        self.delete_model(request, found)
        notices.success(request, "It is off the list: what is handed in from now on is sent to it.")
        return redirect("admin:tracking_suppression_changelist")

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        who = request.user.get_username()
        entry = suppress.Entry(obj.project_id, obj.channel, obj.address, "manual", made_by=who, note=obj.note)
        suppress.add([entry])
        stored = Suppression.objects.only("pk").get(
            project_id=entry.project_id,
            channel=entry.channel,
            address_hash=suppress.address_hash(entry.channel, entry.address),
        )
        obj.pk = stored.pk
        _on_record(obj, audit.CREATE)

    def delete_model(self, request: HttpRequest, obj: Suppression) -> None:
        _on_record(obj, audit.DELETE)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for entry in queryset:
            _on_record(entry, audit.DELETE)
        super().delete_queryset(request, queryset)

    # both histories outlive an erasure: they name the entry, not the address

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return super().log_addition(request, _nameless(obj), message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        nameless: Any = [_nameless(entry) for entry in queryset]
        return super().log_deletions(request, nameless)


def _on_record(entry: Suppression, action: int) -> None:
    said = {"project": entry.project.code, "channel": entry.channel, "reason": entry.reason or "manual"}
    audit.note(entry, action, f"entry {entry.pk}", said)


def _nameless(entry: Suppression) -> Suppression:
    return Suppression(pk=entry.pk, address=f"entry {entry.pk}")


@admin.register(Switch)
class SwitchAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """One row, which is there from the first save on."""

    form = SwitchForm
    change_form_template = "admin/tracking/switch/form.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Switch | None = None) -> bool:
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Switch | None:
        found: Switch | None = super().get_object(request, object_id, from_field)
        return found or (Switch(pk=1) if object_id == "1" else None)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        telling.check(request)
        return redirect("admin:tracking_switch_change", 1)

    def save_model(self, request: HttpRequest, obj: Switch, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        wake.after_commit(wake.DISPATCH)
