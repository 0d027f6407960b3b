"""Operators and groups, and the audit log of what they changed."""

from __future__ import annotations

from typing import Any

from auditlog.models import LogEntry
from django.contrib import admin
from django.contrib import messages as notices
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from dashboard import actions, audit, second_factor
from dashboard.filters import Equals, ListedFiltersOnly
from dashboard.keyset import KeysetAdmin
from dashboard.telling import Telling
from dashboard.templatetags.postroom import moment

audit.register()
DEEDS = {audit.CREATE: "created", audit.UPDATE: "changed", audit.DELETE: "deleted"}
SHOWN_CHANGES = 4  # in the list
SHOWN_VALUE = 120  # characters of a value in the list


@admin.register(User)
class OperatorAdmin(ListedFiltersOnly, UserAdmin):  # type: ignore[type-arg]
    list_filter = ("is_staff", "is_superuser", "is_active", "groups")
    change_form_template = "admin/auth/user/form.html"

    def get_urls(self) -> list[URLPattern]:
        return [actions.url(self, "reset-second-factor", self.reset_second_factor), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        found = kwargs.get("obj")
        if found is not None:
            context["has_second_factor"] = second_factor.has_device(found)
        return super().render_change_form(request, context, *args, **kwargs)

    def reset_second_factor(self, request: HttpRequest, user: User) -> None:
        if second_factor.reset(user=user):
            audit.note(user, audit.UPDATE, user.get_username(), {"two-step login": "reset by an administrator"})
            notices.success(request, "The second step is gone: the password alone opens the door.")
        else:
            notices.warning(request, "This user has no second step.")


@admin.register(Group)
class OperatorGroupAdmin(Telling, GroupAdmin):
    pass


class ActionFilter(Equals):
    title, parameter_name = "what", "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(DEEDS.items())


class OperatorFilter(Equals):
    title, parameter_name, column = "who", "who", "actor_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(User.objects.filter(is_staff=True).order_by("username").values_list("pk", "username"))


@admin.register(LogEntry)
class AuditLogAdmin(KeysetAdmin):
    """Read only: the library writes it."""

    list_display = ("when", "who", "what", "which", "changed", "whence")
    list_filter = (ActionFilter, OperatorFilter)
    list_select_related = ("actor", "content_type")
    change_list_template = "admin/auditlog/logentry/list.html"
    change_form_template = "admin/auditlog/logentry/form.html"
    empty_text = "No change is on record yet. Changes of accounts, projects, keys, users and switches come here."
    fields = ("when", "who", "what", "which", "all_changes", "whence", "cid")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("actor", "content_type")

    @admin.display(description="when")
    def when(self, entry: LogEntry) -> SafeString | str:
        return moment(entry.timestamp)

    @admin.display(description="who")
    def who(self, entry: LogEntry) -> str:
        return str(entry.actor.get_username()) if entry.actor else "the system"

    @admin.display(description="what")
    def what(self, entry: LogEntry) -> str:
        return DEEDS.get(entry.action, "looked at")

    @admin.display(description="which")
    def which(self, entry: LogEntry) -> SafeString:
        return format_html('{} <bdi class="clip">{}</bdi>', entry.content_type.name, entry.object_repr)

    @admin.display(description="change", empty_value="–")
    def changed(self, entry: LogEntry) -> SafeString | None:
        told = list(_told(entry))
        rest = f" … {len(told) - SHOWN_CHANGES} more" if len(told) > SHOWN_CHANGES else ""
        shown = [(name, _short(before), _short(after)) for name, before, after in told[:SHOWN_CHANGES]]
        lines = format_html_join("", "<div>{}: <del>{}</del> → <bdi>{}</bdi></div>", shown)
        return format_html("{}{}", lines, rest) if told else None

    @admin.display(description="changes")
    def all_changes(self, entry: LogEntry) -> SafeString:
        row = '<tr><th scope="row">{}</th><td><bdi>{}</bdi></td><td><bdi>{}</bdi></td></tr>'
        rows = format_html_join("", row, _told(entry))
        head = '<thead><tr><th scope="col">Field</th><th scope="col">From</th><th scope="col">To</th></tr></thead>'
        return format_html('<table class="changes">' + head + "<tbody>{}</tbody></table>", rows)

    @admin.display(description="from", empty_value="–")
    def whence(self, entry: LogEntry) -> str | None:
        return str(entry.remote_addr) if entry.remote_addr else None


def _told(entry: LogEntry) -> list[tuple[str, str, str]]:
    """Field, from, to. What was added to a set has no "from", what was removed no "to"."""
    told = []
    for name, change in sorted((entry.changes or {}).items()):
        if isinstance(change, dict):
            objects = ", ".join(map(str, change.get("objects", [])))
            pair = (objects, "") if change.get("operation") == "delete" else ("", objects)
        else:
            pair = (_empty(change[0]), _empty(change[1]))
        if any(pair) and name != "id":
            told.append((name.replace("_", " "), *pair))
    return told


def _empty(value: Any) -> str:
    return "" if value in (None, "None") else str(value)


def _short(value: str) -> str:
    return value if len(value) <= SHOWN_VALUE else f"{value[:SHOWN_VALUE]}…"
