"""Projects: what they may use and how they send. Their API keys and logins stand in keys.py."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from dashboard.admin.engagement import EngagementInline
from dashboard.channel_page import ChannelSettingsInline
from dashboard.forms import ProjectForm
from dashboard.telling import Telling
from dashboard.templatetags.postroom import moment, tag
from tracking import wake
from tracking.models import Grant, Project, PushwooshSettings
from tracking.services import route


class GrantInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Grant
    extra = 0
    verbose_name = "account it may use"
    verbose_name_plural = "accounts it may use"


class PushwooshInline(admin.StackedInline):  # type: ignore[type-arg]
    model = PushwooshSettings
    extra = 0


@admin.register(Project)
class ProjectAdmin(Telling, admin.ModelAdmin):  # type: ignore[type-arg]
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
