"""The form in which an operator says what a vendor's code means. Used by dashboard.admin.codes."""

from __future__ import annotations

from typing import Any

from django import forms

from dashboard import words
from providers import registry
from providers.models import ErrorMapping

OUTCOMES = {
    "": "as received: what the adapter takes it for",
    "bounced": "bounced: it came back for good",
    "failed": "failed: the provider gave up",
    "deferred": "deferred: the provider is still trying",
    "accepted": "accepted: the provider or the next server took it",
    "delivered": "delivered",
    "other": "nothing: it is kept on record only",
}


class MappingForm(forms.ModelForm):  # type: ignore[type-arg]
    kind = forms.ChoiceField(choices=lambda: [(kind, kind) for kind in registry.kinds()])
    days = forms.IntegerField(
        min_value=1, max_value=365, initial=30, label="Days of history", help_text="Read again so, newest first."
    )

    class Meta:
        model = ErrorMapping
        fields = ("kind", "word", "code", "phrase", "outcome", "failure", "bounce", "suppress", "account_fault", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._choose("outcome", list(OUTCOMES.items()))
        self._choose("failure", [(value, words.failure(value)) for value, _ in ErrorMapping.FAILURES])
        failure = self.fields["failure"]
        failure.help_text = "Counts where it failed or bounced. A refused hand-over is repeated where it is temporary."
        self.fields["bounce"].help_text = "Counts where it bounced."
        if self.instance.pk:  # another kind would be another code
            self.fields["kind"].disabled = True

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and not any(cleaned.get(name) for name in ("word", "code", "phrase")):
            self.add_error("code", "Say of what: a word, a code or a phrase.")
        if cleaned.get("suppress") and cleaned.get("account_fault"):
            self.add_error("account_fault", "Either the address is bad or the account, not both.")
        return cleaned
