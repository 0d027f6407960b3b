"""The forms by which operators set consents. Used by dashboard.admin."""

from __future__ import annotations

from typing import Any

from django import forms

from tracking import address
from tracking.models import Consent, ConsentState
from tracking.services import consents

SETTABLE = (ConsentState.WITHDRAWN, ConsentState.GRANTED)


class WhyForm(forms.Form):
    """Why an operator changes what a recipient allows."""

    reason = forms.CharField(
        max_length=300, label="Why?", help_text="Such as: asked for it by telephone. Name no recipient."
    )


class ConsentForm(forms.ModelForm):  # type: ignore[type-arg]
    """A consent by hand: for a recipient who wrote or called."""

    address = forms.CharField(max_length=500)
    purpose = forms.CharField(max_length=100, help_text="As the application names it in its messages, in its case.")
    state = forms.ChoiceField(choices=[(state.value, state.value) for state in SETTABLE])
    reason = WhyForm.base_fields["reason"]

    class Meta:
        model = Consent
        fields = ("project", "channel", "address", "purpose", "state")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        project, channel, value = cleaned.get("project"), cleaned.get("channel"), cleaned.get("address")
        if not (project and channel and value):
            return cleaned
        try:
            cleaned["address"] = address.normal(channel, value, project.default_region)
        except address.Bad as bad:
            self.add_error("address", f"This {bad}.")
            return cleaned
        standing = consents.of_recipient(
            project_id=project.pk, channel=channel, recipient=cleaned["address"], purpose=cleaned.get("purpose")
        )
        if standing and standing[0]["state"] == cleaned.get("state"):
            self.add_error("state", f"It is {standing[0]['state']} already.")
        return cleaned
