"""Messages and batches: to find, to read, to send again, to cancel. Nothing is added, edited or deleted here."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.clickjacking import xframe_options_sameorigin

from dashboard import actions, csp, filters, message_page, search, words
from dashboard.keyset import KeysetAdmin
from dashboard.templatetags.postroom import moment, pill
from tracking import ids
from tracking.models import Batch, Content, Message
from tracking.services import act, lookup
from tracking.services.record import Source

SHORT_ID = 13  # characters: as long as the millisecond in it


class ReadOnlyAdmin(KeysetAdmin):
    """`has_change_permission` stays: it is what the buttons ask for."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

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


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("short_id", "to", "channel", "state", "why", "provider", "tries", "created")
    list_filter = (
        filters.StatusFilter,
        filters.ChannelFilter,
        filters.ProjectFilter,
        filters.AccountFilter,
        filters.WindowFilter,
        filters.BatchFilter,
    )
    search_fields = ("pk",)  # says that there is a search; get_search_results does it
    search_help_text = search.HELP
    empty_text = "No message matches. Messages come in by POST /v1/notifications with an API key."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return search.narrow(queryset, search_term), False

    def time_of(self, key: Any) -> datetime:
        return ids.time_of(key)

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["account"]
        for row in rows:
            row.account_code = known.get(row.account_id, "")

    @admin.display(description="id")
    def short_id(self, message: Message) -> SafeString:
        return format_html('<span class="mono" title="{}">{}</span>', message.pk, str(message.pk)[:SHORT_ID])

    @admin.display(description="recipient")
    def to(self, message: Message) -> SafeString:
        return format_html('<bdi class="clip" title="{}">{}</bdi>', message.recipient, message.recipient)

    @admin.display(description="status")
    def state(self, message: Message) -> SafeString:
        return pill(message.status)

    @admin.display(description="reason", empty_value="")
    def why(self, message: Message) -> SafeString | None:
        if not message.reason:
            return None
        shown = message.reason.replace("_", " ")
        return format_html('<span title="{}">{}</span>', words.reason(message.reason), shown)

    @admin.display(description="provider", empty_value="–")
    def provider(self, message: Message) -> str:
        code: str = message.account_code  # type: ignore[attr-defined]
        return code

    @admin.display(description="attempts")
    def tries(self, message: Message) -> SafeString:
        return format_html('<span class="number">{}</span>', message.attempts)

    @admin.display(description="created")
    def created(self, message: Message) -> SafeString | str:
        return moment(message.created_at)

    def get_urls(self) -> list[URLPattern]:
        html = path("<uuid:pk>/html/", self.admin_site.admin_view(self.html), name="tracking_message_html")
        return [
            html,
            actions.url(self, "retry", _retry, key="uuid"),
            actions.url(self, "cancel", _cancel, key="uuid"),
            *super().get_urls(),
        ]

    def page(self, request: HttpRequest, found: Message) -> dict[str, Any]:
        return message_page.context(found)

    @method_decorator(xframe_options_sameorigin)
    def html(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """The message's own HTML, for a frame in which nothing runs and nothing is fetched."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        content = Content.objects.filter(pk=pk).first()
        if content is None or not content.body.get("html"):
            raise Http404
        headers = {csp.HEADER: csp.PREVIEW, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return HttpResponse(str(content.body["html"]), content_type="text/html; charset=utf-8", headers=headers)


def _operator(request: HttpRequest) -> Source:
    return Source("admin", detail={"user": request.user.get_username()})


def _retry(request: HttpRequest, message: Message) -> None:
    _do(request, message, act.retry, "The message will be sent again.")


def _cancel(request: HttpRequest, message: Message) -> None:
    _do(request, message, act.cancel, "The message is cancelled.")


def _do(request: HttpRequest, message: Message, deed: Any, done: str) -> None:
    try:
        deed(message.pk, source=_operator(request))
    except act.Missing:
        raise Http404 from None
    except act.Refused as refused:
        notices.error(request, f"Not done: {refused}.")
    else:
        notices.success(request, done)


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ("number", "project_code", "size", "created")
    list_filter = (filters.ProjectScanFilter,)
    empty_text = "No batch yet. POST /v1/notifications/batch makes one."

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["project"]
        for row in rows:
            row.code = known.get(row.project_id, "")

    @admin.display(description="batch")
    def number(self, batch: Batch) -> SafeString:
        return format_html('<span class="number">{}</span>', batch.pk)

    @admin.display(description="project")
    def project_code(self, batch: Batch) -> str:
        code: str = batch.code  # type: ignore[attr-defined]
        return code

    @admin.display(description="created")
    def created(self, batch: Batch) -> SafeString | str:
        return moment(batch.created_at)

    def page(self, request: HttpRequest, found: Batch) -> dict[str, Any]:
        return {
            "title": f"Batch {found.pk}",
            "batch": lookup.batch(found.project_id, found.pk),
            "messages_url": f"{reverse('admin:tracking_message_changelist')}?batch={found.pk}",
        }
