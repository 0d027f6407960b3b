"""Alert channels: where incidents are told, whether that works, and a button to try it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, channels, notify
from dashboard.admin.alert_rules import severity
from dashboard.alert_form import ChannelForm
from dashboard.filters import ListedFiltersOnly
from dashboard.models import AlertChannel, AlertNotification, ChannelKind
from dashboard.templatetags.postroom import tag
from providers.vault import SealBroken

DELIVERIES = {"waiting": ("pending", "○"), "sent": ("delivered", "✓"), "failed": ("failed", "✕")}
SHOWN = 20


@admin.register(AlertChannel)
class AlertChannelAdmin(ListedFiltersOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    form = ChannelForm
    list_filter = ()
    list_display = ("name", "kind", "shown_target", "state", "last", "shown_least")
    show_full_result_count = False
    sortable_by = ()
    actions = None
    change_form_template = "admin/dashboard/alertchannel/form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertChannel]:
        newest = AlertNotification.objects.filter(channel=OuterRef("pk")).order_by("-pk")
        found: QuerySet[AlertChannel] = super().get_queryset(request)
        return found.annotate(last_state=Subquery(newest.values("state")[:1]))

    def get_fields(self, request: HttpRequest, obj: AlertChannel | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("name", "kind", "recipients", "url", "least", "allow_private", "enabled")
        if obj.kind == ChannelKind.EMAIL:
            return ("name", "recipients", "least", "enabled")
        return ("name", "url", "least", "allow_private", "enabled")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["fields"] = None  # the form says itself which it has
        return super().get_form(request, obj, change=change, **kwargs) if not change else ChannelForm

    @admin.display(description="to")
    def shown_target(self, channel: AlertChannel) -> SafeString:
        return format_html('<bdi class="clip" title="{0}">{0}</bdi>', channel.target)

    @admin.display(description="state")
    def state(self, channel: AlertChannel) -> SafeString:
        if channel.enabled:
            return tag("delivered", "on", "✓")
        return format_html('<span title="{}">{}</span>', channel.fault, tag("cancelled", "off", "⊘"))

    @admin.display(description="last notification")
    def last(self, channel: AlertChannel) -> SafeString | str:
        found: str | None = getattr(channel, "last_state", None)
        return delivery(found) if found else "none yet"

    @admin.display(description="from severity")
    def shown_least(self, channel: AlertChannel) -> SafeString:
        return severity(channel.least)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        found: AlertChannel | None = kwargs.get("obj")
        if found is not None and found.pk:
            context |= {
                "channel": found,
                "told": list(found.notifications.order_by("-pk")[:SHOWN]),
                "signed": found.kind == ChannelKind.WEBHOOK,
                "can_act": self.has_change_permission(request, found),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def response_add(
        self, request: HttpRequest, obj: AlertChannel, post_url_continue: str | None = None
    ) -> HttpResponse:
        if obj.kind == ChannelKind.WEBHOOK:
            return self._made(request, obj)
        return super().response_add(request, obj, post_url_continue)

    def _made(self, request: HttpRequest, channel: AlertChannel) -> HttpResponse:
        """The answer itself shows the secret: it goes through no session, log or redirect."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "The secret of the channel",
            "secret": channel.secrets["secret"],
            "channel": channel,
        }
        template = "admin/dashboard/alertchannel/made.html"
        return TemplateResponse(request, template, context, headers={"Cache-Control": "no-store"})

    def get_urls(self) -> list[URLPattern]:
        return [
            actions.url(self, "test", self.test),
            actions.url(self, "new-secret", self.new_secret),
            *super().get_urls(),
        ]

    def test(self, request: HttpRequest, channel: AlertChannel) -> None:
        notify.test(channel)
        self.log_change(request, channel, "Tried.")
        notices.success(request, "A test is on its way: look below in a moment what became of it.")

    def new_secret(self, request: HttpRequest, channel: AlertChannel) -> HttpResponse | None:
        if channel.kind != ChannelKind.WEBHOOK:
            notices.warning(request, "Only signed webhooks have a secret.")
            return None
        try:
            kept = channel.secrets
        except SealBroken as error:
            notices.error(request, str(error))
            return None
        with transaction.atomic():
            channel.secrets = {**kept, "secret": channels.new_secret()}
            channel.save(update_fields=["sealed"])
            self.log_change(request, channel, "Made a new secret.")
        return self._made(request, channel)


def delivery(state: str) -> SafeString:
    tone, sign = DELIVERIES.get(state, ("", "•"))
    return tag(tone, state, sign)
