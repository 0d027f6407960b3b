"""Projects and their API keys. A key is shown once, on the page that answers its making."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions
from dashboard.admin.engagement import EngagementInline
from dashboard.channel_page import ChannelSettingsInline
from dashboard.filters import ListedFiltersOnly
from dashboard.forms import ApiKeyForm, ProjectForm
from dashboard.templatetags.postroom import moment, tag
from tracking import wake
from tracking.models import ApiKey, Grant, Project, PushwooshSettings
from tracking.services import keys, route


class GrantInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Grant
    extra = 0
    verbose_name = "account it may use"
    verbose_name_plural = "accounts it may use"


class PushwooshInline(admin.StackedInline):  # type: ignore[type-arg]
    model = PushwooshSettings
    extra = 0


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = ProjectForm
    list_display = ("code", "name", "state", "default_region", "created")
    list_filter = ("paused",)
    search_fields = ("code", "name")
    show_full_result_count = False
    inlines = (GrantInline, PushwooshInline, ChannelSettingsInline, EngagementInline)
    fields = ("code", "name", "paused", "retry", "default_region")

    def has_delete_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        return False  # messages refer to it for ever: it is paused instead

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> tuple[str, ...]:
        return ("code",) if obj else ()

    @admin.display(description="state")
    def state(self, project: Project) -> SafeString:
        return tag("bounced", "paused", "Ⅱ") if project.paused else tag("delivered", "sending", "✓")

    @admin.display(description="created")
    def created(self, project: Project) -> SafeString | str:
        return moment(project.created_at)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        route.forget()
        wake.after_commit(wake.DISPATCH)  # what its pause held back may go now


@admin.register(ApiKey)
class ApiKeyAdmin(ListedFiltersOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    form = ApiKeyForm
    list_display = ("name", "project", "shown_prefix", "shown_scopes", "state", "created")
    list_filter = ("revoked", "project")
    list_select_related = ("project",)
    search_fields = ("name", "prefix")
    show_full_result_count = False
    readonly_fields = ("project", "name", "shown_prefix", "shown_scopes", "rate_limit", "state", "created")
    fields = readonly_fields
    change_form_template = "admin/tracking/apikey/page.html"

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # it is revoked: what it did must stay explained

    @admin.display(description="prefix")
    def shown_prefix(self, key: ApiKey) -> SafeString:
        return format_html('<span class="mono">pr_{}_…</span>', key.prefix)

    @admin.display(description="scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> SafeString:
        return tag("cancelled", "revoked", "⊘") if key.revoked else tag("delivered", "valid", "✓")

    @admin.display(description="created")
    def created(self, key: ApiKey) -> SafeString | str:
        return moment(key.created_at)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj else ("project", "name", "scopes", "rate_limit")

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj else ()

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
            raise PermissionDenied  # a key is never edited
        hidden = {"show_save": False, "show_save_and_continue": False, "show_save_and_add_another": False}
        return super().changeform_view(request, object_id, form_url, {**hidden, **(extra_context or {})})

    def _add(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ApiKeyForm(request.POST or None)
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Make an API key"}
        if request.method == "POST" and form.is_valid():
            return self._made(request, form, context)
        return TemplateResponse(request, "admin/tracking/apikey/make.html", {**context, "form": form})

    def _made(self, request: HttpRequest, form: ApiKeyForm, context: dict[str, Any]) -> HttpResponse:
        """The answer itself shows the key: it goes through no session, log or redirect."""
        wanted = form.cleaned_data
        key = keys.create(
            project=wanted["project"], name=wanted["name"], scopes=wanted["scopes"], rate_limit=wanted["rate_limit"]
        )
        row = ApiKey.objects.get(prefix=key.split("_")[1])
        self.log_addition(request, row, [{"added": {}}])
        context |= {"title": "The new API key", "key": key, "row": row, "list_url": _list_url()}
        return TemplateResponse(
            request, "admin/tracking/apikey/made.html", context, headers={"Cache-Control": "no-store"}
        )

    def get_urls(self) -> list[URLPattern]:
        return [actions.url(self, "revoke", self.revoke), *super().get_urls()]

    def revoke(self, request: HttpRequest, key: ApiKey) -> None:
        key.revoked = True
        key.save(update_fields=["revoked"])
        self.log_change(request, key, "Revoked.")
        notices.success(request, "The key is revoked: within two seconds nobody can use it any more.")


def _list_url() -> str:
    return reverse("admin:tracking_apikey_changelist")
