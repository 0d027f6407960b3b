"""The audit log of configuration: who changed what, and when. Secrets and recipients never get into it.

django-auditlog writes an entry whenever one of these is saved or deleted. What happens to messages stands in their
timelines. Used by dashboard.admin, which registers it, by settings.MIDDLEWARE, and by pages whose deeds need words of
their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from auditlog.middleware import AuditlogMiddleware
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib.auth.models import Group, User
from django.contrib.auth.signals import user_logged_in
from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase

from dashboard import client
from dashboard.models import AlertChannel, AlertRule, SavedView
from providers.models import ErrorMapping, ProviderAccount
from tracking.models import (
    ApiKey,
    ChannelSettings,
    Endpoint,
    EngagementSettings,
    Grant,
    Login,
    Project,
    PushwooshSettings,
    Retention,
    Switch,
)

SECRET = "(secret)"
CREATE, UPDATE, DELETE = LogEntry.Action.CREATE, LogEntry.Action.UPDATE, LogEntry.Action.DELETE
_TIMES = ["created_at", "changed_at"]


def register() -> None:
    """A row for each model whose changes are on record. Models of recipients are not: see `note`."""
    auditlog.register(
        ProviderAccount,
        mask_fields=["sealed_credentials", "hook_token", "hook_token_previous"],
        exclude_fields=[*_TIMES, "projects"],
    )
    auditlog.register(Project, exclude_fields=[*_TIMES, "api_keys", "logins", "accounts", "engagement"])
    auditlog.register(ErrorMapping, exclude_fields=_TIMES)
    auditlog.register(Grant)
    auditlog.register(Retention, exclude_fields=_TIMES)
    auditlog.register(PushwooshSettings)
    auditlog.register(ChannelSettings)
    auditlog.register(EngagementSettings)
    auditlog.register(ApiKey, exclude_fields=[*_TIMES, "hashed"])
    auditlog.register(Login, exclude_fields=[*_TIMES, "hashed"])
    states = ["disabled_at", "failing_since", "last_attempt_at", "hold_until", "deliveries"]
    auditlog.register(Endpoint, mask_fields=["sealed"], exclude_fields=[*_TIMES, *states])
    auditlog.register(Switch, exclude_fields=_TIMES)
    auditlog.register(
        User,
        mask_fields=["password"],
        exclude_fields=["last_login", "date_joined"],
        m2m_fields={"groups", "user_permissions"},
    )
    auditlog.register(SavedView, exclude_fields=_TIMES)
    auditlog.register(AlertRule, exclude_fields=["checked_at", "value", "volume", "fault"])
    auditlog.register(AlertChannel, mask_fields=["sealed"])
    auditlog.register(Group, m2m_fields={"permissions"})
    user_logged_in.connect(note_login, dispatch_uid="audit")


def hidden(value: str) -> str:
    """Of a masked field only whether there was anything."""
    return "" if value in ("", "None") else SECRET


def note(found: Model, action: int, name: str, said: Mapping[str, str]) -> None:
    """An entry by hand. `name` stands for the object, whose own name may be a recipient's."""
    LogEntry.objects.log_create(
        found,
        force_log=True,
        action=action,
        object_repr=name,
        changes={key: ["", value] for key, value in said.items()},
    )


def note_login(sender: type[User], request: HttpRequest, user: User, **_: object) -> None:
    """Somebody has come in; who was refused is counted by the login's own limit."""
    LogEntry.objects.log_create(
        user,
        force_log=True,
        action=LogEntry.Action.ACCESS,
        actor=user,
        remote_addr=client.address(request),
        changes={"login": ["", "signed in"]},
    )


class AuditOperators(AuditlogMiddleware):  # type: ignore[misc]
    """Ties the entries to whoever is logged in. Only pages of operators change configuration; the API is spared it."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith("/admin/"):
            plain: HttpResponseBase = self.get_response(request)
            return plain
        response: HttpResponseBase = super().__call__(request)
        return response
