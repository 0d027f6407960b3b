"""The form that starts an export of what a scope says. Used by the admin."""

from __future__ import annotations

from django import forms

from tracking.export_columns import COLUMNS, USUAL
from tracking.models import ExportFormat

_NAMES = {ExportFormat.CSV: "CSV, for spreadsheets", ExportFormat.JSONL: "JSON lines, for programs"}


class ExportForm(forms.Form):
    query = forms.CharField(required=False, max_length=20_000, widget=forms.HiddenInput)
    format = forms.ChoiceField(choices=[(each.value, _NAMES[each]) for each in ExportFormat])
    gzip = forms.BooleanField(required=False, label="Compress it (gzip)")
    columns = forms.MultipleChoiceField(
        choices=[(name, name) for name in COLUMNS],
        initial=list(USUAL),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one column."},
    )
