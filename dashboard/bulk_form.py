"""The form that starts a bulk operation, below its dry run. Used by the admin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from dashboard.models import BulkKind
from providers.models import ProviderAccount

FASTEST = 200.0  # messages a second
FRESH = timedelta(hours=12)  # a dry run that is older is to be made anew


class BulkForm(forms.Form):
    kind = forms.ChoiceField(choices=BulkKind.choices, widget=forms.HiddenInput)
    query = forms.CharField(required=False, max_length=20_000, widget=forms.HiddenInput)
    seen_at = forms.DateTimeField(widget=forms.HiddenInput)
    token = forms.UUIDField(widget=forms.HiddenInput)
    via = forms.ModelChoiceField(
        ProviderAccount.objects.filter(enabled=True),
        required=False,
        label="Through which account",
        error_messages={"invalid_choice": "Choose an enabled account from the list."},
    )
    reason = forms.CharField(
        max_length=300,
        label="Why",
        help_text="Stands in the timeline of every message, with your name.",
        error_messages={"required": "Say why: others will want to know."},
    )
    rate = forms.FloatField(
        min_value=0.1, max_value=FASTEST, initial=20, label="At most", help_text="messages a second (0.1 to 200)"
    )

    def __init__(self, *args: Any, kind: str = "", **kw: Any) -> None:
        super().__init__(*args, **kw)
        if kind != BulkKind.RETRY_VIA:
            del self.fields["via"]

    def clean_seen_at(self) -> datetime:
        found: datetime = self.cleaned_data["seen_at"]
        if not datetime.now(UTC) - FRESH < found <= datetime.now(UTC) + timedelta(minutes=1):
            raise ValidationError("This dry run is too old: make a new one.")
        return found

    def clean(self) -> dict[str, Any]:
        missing = "via" in self.fields and not self.cleaned_data.get("via")
        if missing and not self.has_error("via"):
            self.add_error("via", "Choose the account that the messages are to be sent through.")
        return self.cleaned_data
