"""The forms of retention and erasure. Used by dashboard.admin.retention and dashboard.admin.erasures."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from providers.models import CHANNELS
from tracking import address
from tracking.models import Plan, Project, Retention
from tracking.retention import PLAN_DAYS


class RetentionForm(forms.ModelForm):  # type: ignore[type-arg]
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=3650,
        label="Days, if Custom",
        help_text="For messages with their attempts and events.",
    )

    class Meta:
        model = Retention
        fields = ("plan", "days", "content_days", "export_first")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["content_days"].label = "Days for content"
        self.fields["export_first"].label = "Export before the purge"

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        plan = str(cleaned.get("plan"))
        if plan in PLAN_DAYS:
            cleaned["days"] = PLAN_DAYS[plan]
        elif plan == Plan.CUSTOM and not cleaned.get("days") and "days" not in self.errors:
            self.add_error("days", "Say how many.")
        days, content = cleaned.get("days"), cleaned.get("content_days")
        if days and content and content > days:
            self.add_error("content_days", f"Content is not kept longer than its message: {days} days.")
        if cleaned.get("export_first") and not settings.PURGE_EXPORT_DIR:
            self.add_error("export_first", "There is no directory for it: PURGE_EXPORT_DIR is not set.")
        return cleaned


class ErasureForm(forms.Form):
    project = forms.ModelChoiceField(Project.objects.all())
    channel = forms.ChoiceField(choices=CHANNELS)
    recipient = forms.CharField(
        max_length=500, strip=True, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )
    reason = forms.CharField(
        max_length=300, required=False, help_text="Such as the number of the request. Not the recipient: it stays."
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        project, channel, recipient = (cleaned.get(name) for name in ("project", "channel", "recipient"))
        if project and channel and recipient:
            try:
                known = address.normal(channel, recipient, project.default_region)
            except address.Bad as bad:
                self.add_error("recipient", f"It {bad}.")
            else:
                if known.casefold() in cleaned.get("reason", "").casefold():
                    self.add_error("reason", "It names the recipient, and would stay.")
        return cleaned
