"""The forms of alert rules, channels, and of what is done to incidents. Used by dashboard.admin."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import QuerySet

from dashboard import channels, readings
from dashboard.alert_kinds import ANOMALIES, KINDS
from dashboard.models import AlertChannel, AlertRule, ChannelKind, SavedView
from providers.addresses import AddressRefused, check_url
from providers.vault import SealBroken
from tracking.metrics import DEFINITIONS

MUTE = ((60, "1 hour"), (480, "8 hours"), (1_440, "24 hours"), (10_080, "7 days"))
MAX_RECIPIENTS = 20
_GENERAL = ("name", "kind", "metric", "view", "threshold", "window", "minimum")
_ALWAYS = ("severity", "quiet", "channels")
# How they mean what readings.py reads.
_HELP = {
    "view": "Of projects, channels, accounts, templates or categories alone; with a bounce class for the bounce rate, "
    "with a failure class for the failure rate. None: everything.",
    "threshold": "A number in the unit of the kind: for a rate 5 is 5 %, for a time 30 is 30 seconds and 0.5 is half a "
    "second (never milliseconds), for a backlog 1000 is 1,000 messages.",
    "window": "The messages made in this time before now count, for a silent provider the attempts; a backlog is of "
    "now.",
    "minimum": "Fewer messages in the window say nothing; for a silent provider attempts that it took, for the oldest "
    "message due those that are due. The number of messages due needs none.",
}


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """Of a built-in rule only what does not say when it is broken."""

    metric = forms.ChoiceField(
        choices=[("", "–"), *((key, DEFINITIONS[key].name) for key in ANOMALIES)],
        required=False,
        help_text=f"Only for “{KINDS['anomaly'].name}”.",
    )

    class Meta:
        model = AlertRule
        fields = (*_GENERAL, *_ALWAYS, "enabled")
        widgets: ClassVar = {"channels": forms.CheckboxSelectMultiple}

    def __init__(self, *args: Any, views: QuerySet[SavedView], **kw: Any) -> None:
        super().__init__(*args, **kw)
        if self.instance.built_in:
            for name in (*_GENERAL, "enabled"):
                del self.fields[name]
            return
        own = SavedView.objects.filter(pk=self.instance.view_id)  # somebody else's, perhaps
        self.fields["view"].queryset = (views | own).distinct()  # type: ignore[attr-defined]
        possible = [(key, f"{kind.name} ({kind.unit})") for key, kind in KINDS.items() if not kind.built_in]
        self.fields["kind"].choices = possible  # type: ignore[attr-defined]
        for name, text in _HELP.items():
            self.fields[name].help_text = text

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name in {kind.name for kind in KINDS.values() if kind.built_in}:
            raise ValidationError("A built-in rule has this name.")
        return name

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        kind = KINDS.get(cleaned.get("kind", ""))
        if kind is None:
            return cleaned
        self._clean_threshold(kind.unit, cleaned.get("threshold"))
        if cleaned["kind"] == "anomaly":
            if not cleaned.get("metric") and not self.has_error("metric"):
                self.add_error("metric", "Choose what is to be watched.")
            if cleaned.get("window", 15) % 15:
                self.add_error("window", "What is unusual is told by quarters of an hour: take 15 min or more.")
        else:
            cleaned["metric"] = ""
        return cleaned

    def _clean_threshold(self, unit: str, threshold: float | None) -> None:
        if threshold is None:
            return
        most = {"%": 100.0, "messages": float(readings.COUNTED), "×": 1_000.0}.get(unit)
        if threshold != threshold or (most is not None and threshold > most):
            self.add_error("threshold", f"At most {most or 10_000_000:,.0f} {unit} is possible.")

    def _post_clean(self) -> None:
        """The view is looked at with all the rest of the rule."""
        super()._post_clean()  # type: ignore[misc]
        if self.instance.built_in or self.errors:
            return
        try:
            readings.conditions(self.instance)
        except readings.Unreadable as why:
            self.add_error("view", f"It cannot be used: {why}.")


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """The address of a webhook goes in and never comes out: an empty field keeps what is there."""

    url = forms.CharField(
        label="Address",
        required=False,
        max_length=2_000,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Of the webhook: https://… It is kept sealed and not shown again.",
    )

    class Meta:
        model = AlertChannel
        fields = ("name", "kind", "recipients", "url", "least", "allow_private", "enabled")

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        try:
            self.secrets = self.instance.secrets
        except SealBroken:
            self.secrets = {}
        if self.secrets.get("url"):
            self.fields["url"].widget.attrs["placeholder"] = "set: leave empty to keep it"
        if self.instance.pk:
            del self.fields["kind"]
            unused = "url" if self.instance.kind == ChannelKind.EMAIL else "recipients"
            del self.fields[unused]
            if unused == "url":
                del self.fields["allow_private"]

    def clean_recipients(self) -> str:
        given = [each.strip() for each in self.cleaned_data["recipients"].split(",") if each.strip()]
        if len(given) > MAX_RECIPIENTS:
            raise ValidationError(f"At most {MAX_RECIPIENTS} are possible.")
        for each in given:
            try:
                validate_email(each)
            except ValidationError:
                raise ValidationError(f"“{each[:80]}” is no e-mail address.") from None
        return ", ".join(given)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        kind = cleaned.get("kind", self.instance.kind)
        if kind == ChannelKind.EMAIL:
            if not cleaned.get("recipients") and not self.has_error("recipients"):
                self.add_error("recipients", "Say who is to be told.")
            if not settings.EMAIL_READY:
                self.add_error(None, "There is no mail server to send through: set EMAIL_URL (docs/alerts.md).")
        elif kind and not self.has_error("url"):
            self._clean_url(cleaned.get("url") or self.secrets.get("url", ""), bool(cleaned.get("allow_private")))
        return cleaned

    def _clean_url(self, url: str, private: bool) -> None:
        try:
            check_url(url)
        except AddressRefused as error:
            self.add_error("url", "Give the address of the webhook." if not url else str(error).capitalize() + ".")
            return
        if not private and urlsplit(url).scheme != "https":
            self.add_error("url", "It must be https, unless it may be on the own network.")

    def save(self, commit: bool = True) -> Any:
        kept = dict(self.secrets)
        if self.cleaned_data.get("url"):
            kept["url"] = self.cleaned_data["url"]
        if self.instance.kind == ChannelKind.WEBHOOK and "secret" not in kept:
            kept["secret"] = channels.new_secret()
        if self.instance.kind != ChannelKind.EMAIL:
            self.instance.secrets = kept
        if self.instance.enabled:
            self.instance.fault = ""
        return super().save(commit)


class NoteForm(forms.Form):
    note = forms.CharField(max_length=1_000, required=False, widget=forms.Textarea(attrs={"rows": 2}))


class MuteForm(forms.Form):
    minutes = forms.TypedChoiceField(choices=[(0, "no time"), *MUTE], coerce=int)
