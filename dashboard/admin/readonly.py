"""The frame of pages that are read and acted upon, and never edited: messages, batches, bulk operations."""

from __future__ import annotations

from typing import Any

from django.contrib import messages as notices
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from dashboard.keyset import KeysetAdmin

SHORT_ID = 13  # characters of an id that are shown: as long as the millisecond in it


class ReadOnlyAdmin(KeysetAdmin):
    """`has_change_permission` stays: it is what the buttons ask for."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Without the signs that lead from a choice to its own page: nobody edits a project from here."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(getattr(field, "widget", None), RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget  # type: ignore[union-attr]
        return field

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The object's page, which GET alone may ask for."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        found = self._found(object_id)
        if found is None:
            notices.warning(request, f"There is no {self.opts.verbose_name} “{object_id[:50]}” (any more).")
            return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": found,
            "can_act": self.has_change_permission(request, found),
            **self.page(request, found),
        }
        return TemplateResponse(request, f"admin/{self.opts.app_label}/{self.opts.model_name}/page.html", context)

    def _found(self, object_id: str) -> Any:
        try:
            return self.model._default_manager.filter(pk=object_id).first()
        except (ValidationError, ValueError):
            return None

    def page(self, request: HttpRequest, found: Any) -> dict[str, Any]:
        """What the object's template shows."""
        raise NotImplementedError
