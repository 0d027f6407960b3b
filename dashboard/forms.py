"""The forms of the admin: an account's is made from what its adapter declares. Used by dashboard.admin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.utils.html import escape

from providers import base, registry, rotation
from providers.models import ProviderAccount
from providers.vault import SealBroken
from tracking import address
from tracking.models import Project, Suppression, Switch
from tracking.services import suppress

PREFIX = "setting_"  # of the fields that stand for an adapter's settings
CLEAR = "clear_"  # of the boxes that remove a secret


_UNSTORABLE = re.compile(r"\\u(0000|d[89a-f])", re.IGNORECASE)


def field_name(setting: base.Setting) -> str:
    return f"{PREFIX}{setting.name}"


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]
    """Secrets go in and never come out: an empty field keeps what is there."""

    adapter: type[base.Provider]
    kind: str

    class Meta:
        model = ProviderAccount
        exclude = ("kind", "settings")  # noqa: DJ006

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.kind = self.kind
        self.seal_broken = False
        try:
            self._secrets = self.instance.credentials
        except SealBroken:
            self._secrets, self.seal_broken = {}, True
        if "channel" in self.fields:
            channels = [(channel.value, channel.value) for channel in sorted(self.adapter.channels)]
            cast(forms.ChoiceField, self.fields["channel"]).choices = channels
        for setting in self.adapter.settings:
            self._fill(setting)

    def _fill(self, setting: base.Setting) -> None:
        field = self.fields.get(field_name(setting))
        if field is None:
            return
        if not setting.secret:
            field.initial = self.instance.settings.get(setting.name, setting.default)
            return
        is_set = bool(self._secrets.get(setting.name))
        field.required = setting.required and not is_set
        field.widget.attrs["placeholder"] = "set: leave empty to keep it" if is_set else "not set"
        if not is_set or setting.required:
            self.fields.pop(f"{CLEAR}{setting.name}", None)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        values = {setting.name: self._value(setting) for setting in self.adapter.settings}
        if not any(name.startswith(PREFIX) for name in self.errors):
            for name, text in self.adapter.check(values).items():
                self.add_error(f"{PREFIX}{name}" if f"{PREFIX}{name}" in self.fields else None, text)
        self._values = values
        return cleaned

    def _value(self, setting: base.Setting) -> Any:
        given = self.cleaned_data.get(field_name(setting))
        if not setting.secret:
            return setting.default if given is None else given
        if given:
            return given
        cleared = self.cleaned_data.get(f"{CLEAR}{setting.name}")
        return "" if cleared else self._secrets.get(setting.name, "")

    def save(self, commit: bool = True) -> Any:
        secret = {setting.name for setting in self.adapter.settings if setting.secret}
        self.instance.settings = {name: value for name, value in self._values.items() if name not in secret}
        rotated = {f"{name}{base.PREVIOUS}" for name in secret}  # still accepted: `providers.rotation` looks after them
        kept = {name: value for name, value in self._secrets.items() if name in rotated}
        self.instance.credentials = kept | {name: self._values[name] for name in secret if self._values[name] != ""}
        return super().save(commit)


def account_form(kind: str) -> type[AccountForm]:
    """Raises registry.UnknownKind, ImportError."""
    adapter = registry.adapter(kind)
    fields: dict[str, Any] = {"adapter": adapter, "kind": kind}
    for setting in adapter.settings:
        fields[field_name(setting)] = _field(setting)
        if setting.secret and not setting.required:
            fields[f"{CLEAR}{setting.name}"] = forms.BooleanField(required=False, label=f"Remove: {setting.label}")
    return type("AccountForm", (AccountForm,), fields)


def _field(setting: base.Setting) -> forms.Field:
    common: dict[str, Any] = {"label": setting.label, "required": setting.required, "help_text": escape(setting.help)}
    if setting.secret:
        hidden = {"autocomplete": "new-password", "spellcheck": "false"}
        return forms.CharField(**common, widget=forms.PasswordInput(attrs=hidden, render_value=False))
    if setting.choices:
        return forms.ChoiceField(**common, choices=[(choice, choice or "–") for choice in setting.choices])
    if setting.type is bool:
        return forms.BooleanField(**common | {"required": False})
    if setting.type is int:
        return forms.IntegerField(**common)
    if setting.type is float:
        return forms.FloatField(**common)
    if setting.type is dict:
        return _Mapping(**common, widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}))
    # a help that speaks of PEM or JSON announces text of several lines
    if "PEM" in setting.help or "JSON" in setting.help:
        return forms.CharField(**common, widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}))
    return forms.CharField(**common)


class StorableJson(forms.JSONField):
    """JSON that jsonb takes and a page can show: no NUL, no halves of characters (whole ones need no escape)."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and _UNSTORABLE.search(value):
            raise ValidationError("It holds characters that cannot be stored.")
        return super().to_python(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        if isinstance(data, str) and _UNSTORABLE.search(data):
            return InvalidJSONInput(data)
        return super().bound_data(data, initial)


class _Mapping(StorableJson):
    def clean(self, value: Any) -> dict[str, Any]:
        found = super().clean(value) or {}
        if not isinstance(found, Mapping):
            raise ValidationError("A JSON object is wanted: {…}")
        return dict(found)


class TestSendForm(forms.Form):
    """One message by hand, to see whether an account works."""

    recipient = forms.CharField(max_length=500)
    sender = forms.CharField(max_length=320, required=False, help_text="where the account has no default sender")

    def __init__(self, *args: Any, account: ProviderAccount, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "test_%s"  # another form of the page has ids of its own
        self.account = account

    def clean_recipient(self) -> str:
        return _normal(self.account.channel, self.cleaned_data["recipient"], "")


class RotateForm(forms.Form):
    """A new secret or hook address beside the old one."""

    name = forms.CharField(max_length=50, widget=forms.HiddenInput)
    value = forms.CharField(
        max_length=500,
        required=False,
        label="New value",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
    )
    days = forms.IntegerField(min_value=1, max_value=90, initial=7, label="Days that the old one is accepted")

    def __init__(self, *args: Any, item: rotation.Rotating | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if item is None:
            return
        self.auto_id = f"rotate_{item.name}_%s"  # there are several on a page
        self.fields["name"].initial = item.name
        value = self.fields["value"]
        value.required = not item.made_here
        value.help_text = "Empty: one is made here." if item.made_here else "The provider makes it: copy it from there."
        if item.name == rotation.HOOK_TOKEN:
            self.fields["value"].widget = forms.HiddenInput()

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.fields["name"].initial:
            raise ValidationError("There is nothing of that name to rotate.")
        return name


def _normal(channel: str, value: str, region: str) -> str:
    try:
        return address.normal(channel, value, region)
    except address.Bad as bad:
        raise ValidationError(f"This {bad}.") from None


class ProjectForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Project
        exclude = ("accounts", "paused_reason")  # noqa: DJ006
        field_classes: ClassVar = {"retry": StorableJson}
        widgets: ClassVar = {"retry": forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})}

    def clean_paused(self) -> bool:
        paused: bool = self.cleaned_data["paused"]
        if not paused:
            self.instance.paused_reason = ""  # the system page gives one; it must not outlive the pause
        return paused

    def clean_retry(self) -> dict[str, Any]:
        return self.cleaned_data["retry"] or {}  # an emptied field means: no overrides


class SuppressionForm(forms.ModelForm):  # type: ignore[type-arg]
    address = forms.CharField(max_length=500, help_text="Nothing is sent to it any more by this project.")

    class Meta:
        model = Suppression
        fields = ("project", "channel", "address", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["note"].required = True
        self.fields["note"].label = "Why"
        self.fields["note"].help_text = "For whoever asks why nothing arrives."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        project, channel, value = cleaned.get("project"), cleaned.get("channel"), cleaned.get("address")
        if not (project and channel and value):
            return cleaned
        try:
            cleaned["address"] = _normal(channel, value, project.default_region)
        except ValidationError as error:
            self.add_error("address", error)
            return cleaned
        if suppress.suppressed(project.pk, [(channel, cleaned["address"])]):
            self.add_error("address", "It is on the list already.")
        return cleaned


class LiftForm(forms.Form):
    """Take an address off the suppression list."""

    reason = forms.CharField(max_length=300, label="Why is it lifted?")


class SwitchForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Switch
        fields = ("sending_paused", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("sending_paused") and not cleaned.get("reason"):
            self.add_error("reason", "Say why, for whoever finds sending paused.")
        return cleaned
