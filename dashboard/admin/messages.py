"""Messages: to find, to read, to act upon. Nothing is added, edited or deleted here."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.views.decorators.clickjacking import xframe_options_sameorigin

from dashboard import channel_page, csp, filters, message_deeds, message_list, message_page, words
from dashboard.admin.readonly import SHORT_ID, ReadOnlyAdmin
from dashboard.models import BulkKind
from dashboard.scope_form import MAX_CHOSEN
from dashboard.templatetags.postroom import clipped, moment, pill
from tracking import ids, search
from tracking.models import Content, Message

RUN_BULK = "dashboard.run_bulkoperation"


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    change_list_template = "admin/tracking/message/list.html"
    search_fields = ("pk",)  # says that there is a search; the scope does it
    search_help_text = search.HELP
    actions = ("bulk_retry", "bulk_retry_via", "bulk_cancel")
    empty_text = "No message matches. Messages come in by POST /v1/notifications with an API key."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return message_list.MessageChangeList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [*message_list.columns(request)]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        return found

    def has_run_bulk_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RUN_BULK)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and "cl" in (response.context_data or {}):
            response.context_data |= self._beside(request, response.context_data["cl"])  # type: ignore[index, operator]
        return response

    def _beside(self, request: HttpRequest, cl: message_list.MessageChangeList) -> dict[str, Any]:
        """What the page shows beside the list itself."""
        query = cl.scope.query if cl.scope else ""
        may_bulk = self.has_run_bulk_permission(request) and cl.scope is not None
        plan = reverse("admin:dashboard_bulkoperation_plan")
        return {
            "tabs": message_list.tabs(request, query),
            "query": query,
            "columns": message_list.column_choices(cl.list_display),
            "save_url": f"{reverse('admin:dashboard_savedview_add')}?{urlencode({'query': query})}" if query else "",
            "export_url": f"{reverse('admin:tracking_export_plan')}?{query}" if self._may_export(request) else "",
            "bulk": [(kind.label, f"{plan}?kind={kind.value}&{query}") for kind in BulkKind] if may_bulk else [],
        }

    @staticmethod
    def _may_export(request: HttpRequest) -> bool:
        return request.user.has_perms(["tracking.view_export", "tracking.add_export"])

    # --- columns

    def time_of(self, key: Any) -> datetime:
        return ids.time_of(key)

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)
        for row in rows:
            row.account_code = known["account"].get(row.account_id, "")
            row.project_shown = known["project"].get(row.project_id, "")

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
    def provider(self, message: Message) -> SafeString | None:
        code: str = message.account_code  # type: ignore[attr-defined]
        return clipped(code) if code else None

    @admin.display(description="attempts")
    def tries(self, message: Message) -> SafeString:
        return format_html('<span class="number">{}</span>', message.attempts)

    @admin.display(description="created")
    def created(self, message: Message) -> SafeString | str:
        return moment(message.created_at)

    @admin.display(description="project")
    def project_code(self, message: Message) -> SafeString:
        return clipped(message.project_shown)  # type: ignore[attr-defined]

    @admin.display(description="external id")
    def external(self, message: Message) -> SafeString:
        return format_html('<bdi class="clip mono" title="{}">{}</bdi>', message.external_id, message.external_id)

    @admin.display(description="tags")
    def tag_list(self, message: Message) -> SafeString:
        return format_html_join(" ", '<bdi class="chip">{}</bdi>', ((tag,) for tag in message.tags))

    @admin.display(description="batch", empty_value="")
    def batch_number(self, message: Message) -> SafeString | None:
        return None if message.batch_id is None else format_html('<span class="number">{}</span>', message.batch_id)

    @admin.display(description="sent")
    def sent(self, message: Message) -> SafeString | str:
        return moment(message.sent_at)

    @admin.display(description="delivered")
    def delivered(self, message: Message) -> SafeString | str:
        return moment(message.delivered_at)

    # --- selections

    @admin.action(description="Retry…", permissions=["run_bulk"])
    def bulk_retry(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._plan(request, BulkKind.RETRY)

    @admin.action(description="Retry via another provider…", permissions=["run_bulk"])
    def bulk_retry_via(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._plan(request, BulkKind.RETRY_VIA)

    @admin.action(description="Cancel…", permissions=["run_bulk"])
    def bulk_cancel(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._plan(request, BulkKind.CANCEL)

    def _plan(self, request: HttpRequest, kind: BulkKind) -> HttpResponse:
        """A selection is a scope too: the dry run takes it from here."""
        chosen = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)[:MAX_CHOSEN]
        query = urlencode({"kind": kind.value, "ids": ",".join(sorted(chosen))})
        return redirect(f"{reverse('admin:dashboard_bulkoperation_plan')}?{query}")

    # --- one message

    def get_urls(self) -> list[URLPattern]:
        html = path("<uuid:pk>/html/", self.admin_site.admin_view(self.html), name="tracking_message_html")
        receipts = path(
            "<uuid:pk>/receipts/", self.admin_site.admin_view(self.receipts), name="tracking_message_receipts"
        )
        return [html, receipts, *channel_page.urls(self), *message_deeds.urls(self), *super().get_urls()]

    def page(self, request: HttpRequest, found: Message) -> dict[str, Any]:
        return message_page.context(found)

    def receipts(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """The next raw requests that receipts of this message came in: a piece of its page."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        context = {"message_id": pk, **message_page.receipts(pk, request.GET.get("after", ""))}
        return TemplateResponse(request, "admin/tracking/message/receipts.html", context)

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
