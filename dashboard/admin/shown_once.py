"""The frame of the pages of what lets an application in, API keys and logins: made, shown once, revoked, never edited
and never deleted. Used by dashboard.admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.safestring import SafeString

from dashboard import actions
from dashboard.filters import ListedFiltersOnly
from dashboard.templatetags.postroom import moment, tag


class ShownOnceAdmin(ListedFiltersOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """`name_field` is what a row is called by; `secret_name` is the word for what is shown once."""

    name_field: ClassVar[str]
    secret_name: ClassVar[str]
    list_filter = ("revoked", "project")
    list_select_related = ("project",)
    show_full_result_count = False
    change_form_template = "admin/shown_once/page.html"

    def make_row(self, wanted: dict[str, Any]) -> tuple[Any, str]:
        """The stored row of what the form asks for, and its secret."""
        raise NotImplementedError

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # it is revoked: what it did must stay explained

    @admin.display(description="scopes")
    def shown_scopes(self, row: Any) -> str:
        return ", ".join(row.scopes)

    @admin.display(description="state")
    def state(self, row: Any) -> SafeString:
        return tag("cancelled", "revoked", "⊘") if row.revoked else tag("delivered", "valid", "✓")

    @admin.display(description="created")
    def created(self, row: Any) -> SafeString | str:
        return moment(row.created_at)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_fields

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        if object_id is None:
            return self._add(request)
        if request.method == "POST":
            raise PermissionDenied  # it is never edited
        shown = {
            "show_save": False,
            "show_save_and_continue": False,
            "show_save_and_add_another": False,
            "revoke_name": f"admin:{actions.url_name(self, 'revoke')}",
        }
        return super().changeform_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def _add(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form: forms.ModelForm[Any] = self.form(request.POST or None)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Make {'an' if self._noun[0] in 'aeiouAEIOU' else 'a'} {self._noun}",
            "secret_name": self.secret_name,
        }
        if request.method == "POST" and form.is_valid():
            return self._made(request, form, context)
        return TemplateResponse(request, "admin/shown_once/make.html", {**context, "form": form})

    def _made(self, request: HttpRequest, form: forms.ModelForm[Any], context: dict[str, Any]) -> HttpResponse:
        """The answer itself shows the secret: it goes through no session, log or redirect."""
        row, secret = self.make_row(form.cleaned_data)
        self.log_addition(request, row, [{"added": {}}])
        context |= {
            "title": f"The new {self._noun}",
            "secret": secret,
            "row": row,
            "name": getattr(row, self.name_field),
            "name_label": self.name_field,
            "list_url": reverse(f"admin:{actions.url_name(self, 'changelist')}"),
        }
        return TemplateResponse(request, "admin/shown_once/made.html", context, headers={"Cache-Control": "no-store"})

    def get_urls(self) -> list[URLPattern]:
        return [actions.url(self, "revoke", self.revoke), *super().get_urls()]

    def revoke(self, request: HttpRequest, row: Any) -> None:
        row.revoked = True
        row.save(update_fields=["revoked"])
        self.log_change(request, row, "Revoked.")
        notices.success(request, f"The {self._noun} is revoked: within two seconds nobody can use it any more.")

    @property
    def _noun(self) -> str:
        return str(self.opts.verbose_name)
