"""Saved views: to name a filter of messages, share it, open it, rename it, delete it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import message_list, scope
from dashboard.models import SavedView
from dashboard.telling import Telling
from dashboard.templatetags.postroom import moment

SHARE = "dashboard.share_savedview"


class SavedViewForm(forms.ModelForm):  # type: ignore[type-arg]
    owner_id: int  # given by the admin: a name is unique among the owner's views

    class Meta:
        model = SavedView
        fields = ("name", "query", "shared")

    def clean_query(self) -> str:
        try:
            return scope.read(self.cleaned_data["query"].removeprefix("?")).query
        except scope.BadScope as bad:
            raise ValidationError([f"{name}: {text}" for name, texts in bad.errors.items() for text in texts]) from None

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        taken = SavedView.objects.filter(owner=self.owner_id, name=name).exclude(pk=self.instance.pk)
        if taken.exists():
            raise ValidationError("You have a view of this name already.")
        return name


@admin.register(SavedView)
class SavedViewAdmin(Telling, admin.ModelAdmin):  # type: ignore[type-arg]
    form = SavedViewForm
    list_display = ("name", "opened", "owner", "shared", "created")
    list_select_related = ("owner",)
    list_per_page = 100
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[SavedView]:
        return message_list.views_for(request)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        owner = obj.owner_id if obj else request.user.pk
        return type("OwnersForm", (super().get_form(request, obj, change=change, **kwargs),), {"owner_id": owner})

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("name", "query", "shared") if request.user.has_perm(SHARE) else ("name", "query")

    def has_change_permission(self, request: HttpRequest, obj: SavedView | None = None) -> bool:
        return super().has_change_permission(request, obj) and _mine(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: SavedView | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _mine(request, obj)

    def save_model(self, request: HttpRequest, obj: SavedView, form: Any, change: bool) -> None:
        if not change:
            obj.owner_id = request.user.pk or 0
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: SavedView, post_url_continue: str | None = None) -> HttpResponse:
        return redirect(_url(obj))

    @admin.display(description="open")
    def opened(self, view: SavedView) -> SafeString:
        return format_html('<a href="{}">Messages</a>', _url(view))

    @admin.display(description="created")
    def created(self, view: SavedView) -> SafeString | str:
        return moment(view.created_at)


def _mine(request: HttpRequest, view: SavedView | None) -> bool:
    return view is None or view.owner_id == request.user.pk or bool(request.user.is_superuser)


def _url(view: SavedView) -> str:
    return f"{reverse('admin:tracking_message_changelist')}?{view.query}"
