"""The forms that make API keys and logins. Used by dashboard.admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms

from tracking.models import ApiKey, Login
from tracking.models.project import all_scopes


class ScopesField(forms.MultipleChoiceField):
    """What a key or a login may be used for."""

    def __init__(self) -> None:
        super().__init__(
            choices=[(scope, scope) for scope in all_scopes()],
            initial=all_scopes,
            widget=forms.CheckboxSelectMultiple,
            help_text="send: hand messages in and act on them · read: their status · receipts: what providers said · "
            "manage: the installation",
        )


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = ScopesField()

    class Meta:
        model = ApiKey
        fields = ("project", "name", "scopes", "rate_limit")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        project, name = cleaned.get("project"), cleaned.get("name")
        # a reload of the page that shows the key must not make another
        if project and ApiKey.objects.filter(project=project, name=name, revoked=False).exists():
            self.add_error("name", "The project has a key of this name already.")
        return cleaned


class LoginForm(forms.ModelForm):  # type: ignore[type-arg]
    """A username is given once: neither a reload nor another project gets it again."""

    scopes = ScopesField()

    class Meta:
        model = Login
        fields = ("project", "username", "scopes")
        error_messages: ClassVar = {"username": {"unique": "There is, or was, a login of this name already."}}
