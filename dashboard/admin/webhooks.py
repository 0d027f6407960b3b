"""Outgoing webhooks: endpoints and deliveries, to read and to act upon. Endpoints are made over the API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, audit, filters, webhook_pages
from dashboard.admin.readonly import SHORT_ID, ReadOnlyAdmin
from dashboard.templatetags.postroom import moment
from tracking import ids
from tracking.models import Delivery, DeliveryState, Endpoint, EventType
from tracking.services import deliveries, endpoints
from tracking.services.act import Refused

TEST, SWITCH = "tracking.test_endpoint", "tracking.switch_endpoint"
REPLAY = "tracking.replay_delivery"


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    list_display = ("address", "project_shown", "state", "wants", "last_call", "made")
    list_filter = (filters.ProjectScanFilter,)
    empty_text = "There is no endpoint. Applications make them by POST /v1/webhooks with a key of the scope manage."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(deleted_at=None)

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["project"]
        for row in rows:
            row.project_code = known.get(row.project_id, "")

    @admin.display(description="address")
    def address(self, row: Endpoint) -> SafeString:
        return format_html('<bdi class="clip" title="{}">{}</bdi>', row.url, row.url)

    @admin.display(description="project")
    def project_shown(self, row: Any) -> str:
        return str(row.project_code)

    @admin.display(description="state")
    def state(self, row: Endpoint) -> SafeString:
        return webhook_pages.endpoint_pill(row)

    @admin.display(description="events")
    def wants(self, row: Endpoint) -> SafeString:
        return format_html('<span class="number" title="{}">{}</span>', ", ".join(row.events), len(row.events))

    @admin.display(description="last call")
    def last_call(self, row: Endpoint) -> SafeString | str:
        return moment(row.last_attempt_at)

    @admin.display(description="created")
    def made(self, row: Endpoint) -> SafeString | str:
        return moment(row.created_at)

    def _found(self, object_id: str) -> Any:
        found = super()._found(object_id)
        return None if found is None or found.deleted_at else found

    def page(self, request: HttpRequest, found: Endpoint) -> dict[str, Any]:
        return webhook_pages.endpoint(found)

    def get_urls(self) -> list[URLPattern]:
        return [
            actions.url(self, "test", _test, permission=TEST),
            actions.url(self, "activate", _activate, permission=SWITCH),
            actions.url(self, "deactivate", _deactivate, permission=SWITCH),
            actions.url(self, "rotate", self.rotate),
            *super().get_urls(),
        ]

    def rotate(self, request: HttpRequest, found: Endpoint) -> HttpResponse | None:
        """The answer itself shows the secret: it goes through no session, log or redirect."""
        try:
            changed, secret = endpoints.rotate(found.pk, document={})
        except Refused as refused:
            notices.error(request, f"It keeps its secret: {refused}.")
            return None
        audit.note(changed, audit.UPDATE, changed.url[:200], {"secret": audit.SECRET})
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "The new secret"}
        context |= {"endpoint": changed, "secret": secret}
        page = "admin/tracking/endpoint/rotated.html"
        return TemplateResponse(request, page, context, headers={"Cache-Control": "no-store"})


def _test(request: HttpRequest, found: Endpoint) -> None:
    try:
        said = endpoints.test(found.pk)
    except Refused as refused:
        notices.error(request, f"It was not called: {refused}.")
        return
    took = f"after {said['response_time']} ms"
    if said["delivered"]:
        notices.success(request, f"It answered {said['response_status']} {took}.")
    else:
        notices.error(request, f"The test failed {took}: {said['error']}.")


def _activate(request: HttpRequest, found: Endpoint) -> None:
    endpoints.activate(found.pk)
    audit.note(found, audit.UPDATE, found.url[:200], {"active": "True"})
    notices.success(request, "The endpoint is active: what has waited for it goes out now.")


def _deactivate(request: HttpRequest, found: Endpoint) -> None:
    endpoints.deactivate(found.pk)
    audit.note(found, audit.UPDATE, found.url[:200], {"active": "False"})
    notices.success(request, "The endpoint is inactive: nothing more is sent to it.")


class EndpointFilter(filters.Equals):
    title, parameter_name, column = "endpoint", "endpoint", "endpoint_id"
    indexed = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(Endpoint.objects.filter(deleted_at=None).order_by("url").values_list("pk", "url")[:200])


class StateFilter(filters.Equals):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.value) for state in DeliveryState]


class EventFilter(filters.Equals):
    title, parameter_name = "event", "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(event.value, event.value) for event in EventType]


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("short_id", "event", "state_shown", "receiver", "calls", "next_try", "made")
    list_filter = (StateFilter, EndpointFilter, EventFilter, filters.WindowFilter)
    list_select_related = ("endpoint",)
    actions = ("replay_selected",)
    empty_text = "No delivery matches. One is made for each milestone that an endpoint wants to be told of."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("endpoint")

    def time_of(self, key: Any) -> datetime:
        return ids.time_of(key)

    @admin.display(description="id")
    def short_id(self, row: Delivery) -> SafeString:
        return format_html('<span class="mono" title="{}">{}</span>', row.pk, str(row.pk)[:SHORT_ID])

    @admin.display(description="state")
    def state_shown(self, row: Delivery) -> SafeString:
        return webhook_pages.delivery_pill(row)

    @admin.display(description="endpoint")
    def receiver(self, row: Delivery) -> SafeString:
        return format_html('<bdi class="clip" title="{}">{}</bdi>', row.endpoint.url, row.endpoint.url)

    @admin.display(description="attempts")
    def calls(self, row: Delivery) -> SafeString:
        return format_html('<span class="number">{}</span>', row.attempts)

    @admin.display(description="next attempt")
    def next_try(self, row: Delivery) -> SafeString | str:
        return moment(row.next_try_at) if row.state == DeliveryState.PENDING else "–"

    @admin.display(description="created")
    def made(self, row: Delivery) -> SafeString | str:
        return moment(row.created_at)

    def page(self, request: HttpRequest, found: Delivery) -> dict[str, Any]:
        return webhook_pages.delivery(found)

    def get_urls(self) -> list[URLPattern]:
        return [actions.url(self, "replay", _replay, key="uuid", permission=REPLAY), *super().get_urls()]

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(REPLAY)

    @admin.action(description="Replay the selected deliveries", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        chosen = list(queryset.values_list("pk", flat=True))
        if not request.user.has_perm(REPLAY):
            raise PermissionDenied
        count = deliveries.replay_all(chosen)
        notices.success(request, f"{count} of {len(chosen)} are sent again; the others wait, or their endpoint is off.")


def _replay(request: HttpRequest, found: Delivery) -> None:
    try:
        deliveries.replay(found)
    except Refused as refused:
        notices.error(request, f"It is not sent again: {refused}.")
    else:
        notices.success(request, "It is sent again, under the same id.")
