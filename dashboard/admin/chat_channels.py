"""Chat channels: found and read, with their members and messages, which come a page at a time. Applications make and
change them over the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import channel_lists, filters, telling
from dashboard.admin.readonly import ReadOnlyAdmin
from dashboard.templatetags.postroom import moment, tag, upto
from tracking.models import ChatChannel, ChatMember, Membership, Project
from tracking.models.channel import ChannelKind

TEMPLATES = "admin/tracking/chatchannel/"


class KindFilter(filters.Equals):
    title, parameter_name = "type", "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(ChannelKind.choices)


class StateFilter(filters.Pick):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("live", "live"), ("deleted", "deleted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(deleted_at__isnull=value == "live")


@admin.register(ChatChannel)
class ChatChannelAdmin(ReadOnlyAdmin):
    list_display = (
        "shown_key",
        "shown_name",
        "shown_kind",
        "state",
        "project_code",
        "members",
        "messages",
        "last_message",
    )
    list_filter = (filters.ProjectScanFilter, KindFilter, StateFilter)
    search_fields = ("key",)
    search_help_text = "The id of a channel that is not deleted, or of a user who is or was in it; in full."
    empty_text = "No channel matches. Applications make channels by POST /v1/channels."

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # they are the applications'

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        wanted = search_term.strip()
        if not wanted:
            return queryset, False
        # both indexes begin with the project: all of them are named, so that these serve
        projects = list(Project.objects.values_list("pk", flat=True))
        named = ChatChannel.objects.filter(project_id__in=projects, key=wanted, deleted_at=None).values("pk")
        users = ChatMember.objects.filter(user__project_id__in=projects, user__user_id=wanted).values("channel_id")
        return queryset.filter(pk__in=named.union(users)), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["project"]
        members, last = channel_lists.sizes(rows), channel_lists.last_messages(rows)
        for row in rows:
            row.code = known.get(row.project_id, "")
            row.members_present = members[row.pk]
            row.last_at = last.get(row.pk)

    @admin.display(description="channel")
    def shown_key(self, channel: ChatChannel) -> SafeString:
        return format_html('<bdi class="clip mono" title="{}">{}</bdi>', channel.key, channel.key)

    @admin.display(description="name")
    def shown_name(self, channel: ChatChannel) -> SafeString | str:
        return format_html('<bdi class="clip" title="{}">{}</bdi>', channel.name, channel.name) if channel.name else "–"

    @admin.display(description="type")
    def shown_kind(self, channel: ChatChannel) -> str:
        return channel.kind

    @admin.display(description="state")
    def state(self, channel: ChatChannel) -> SafeString:
        return pill(channel)

    @admin.display(description="project")
    def project_code(self, channel: Any) -> str:
        return str(channel.code)

    @admin.display(description="members")
    def members(self, channel: Any) -> SafeString:
        return format_html('<span class="number">{}</span>', upto(channel.members_present, channel_lists.LISTED_BOUND))

    @admin.display(description="messages")
    def messages(self, channel: ChatChannel) -> SafeString:
        return format_html('<span class="number">{}</span>', f"{channel.last_segment:,}")

    @admin.display(description="last message")
    def last_message(self, channel: Any) -> SafeString | str:
        return moment(channel.last_at)

    def page(self, request: HttpRequest, found: ChatChannel) -> dict[str, Any]:
        telling.check(request, membership=Membership.values)
        return {
            "title": "Channel",
            "channel": found,
            "pill": pill(found),
            "project": Project.objects.filter(pk=found.project_id).first(),
            "last_at": channel_lists.last_messages([found]).get(found.pk),
            "may_read": request.user.has_perm("tracking.view_message"),
            **channel_lists.members_head(found, request.GET),
        }

    def get_urls(self) -> list[URLPattern]:
        return [
            self._piece("members", channel_lists.members_page),
            self._piece("messages", channel_lists.messages_page, "tracking.view_message"),
            *super().get_urls(),
        ]

    def _piece(self, name: str, read: Callable[[ChatChannel, Any], dict[str, Any]], permission: str = "") -> URLPattern:
        """A part of the page that comes by itself, a page at a time."""

        def view(request: HttpRequest, pk: int) -> HttpResponse:
            allowed = not permission or request.user.has_perm(permission)
            if not allowed or not self.has_view_or_change_permission(request):
                raise PermissionDenied
            channel = ChatChannel.objects.filter(pk=pk).first()
            if channel is None:
                raise Http404
            return TemplateResponse(
                request, f"{TEMPLATES}{name}.html", {"channel": channel, **read(channel, request.GET)}
            )

        return path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"tracking_chatchannel_{name}")


def pill(channel: ChatChannel) -> SafeString:
    return tag("cancelled", "deleted", "⊘") if channel.deleted_at else tag("delivered", "live", "✓")
