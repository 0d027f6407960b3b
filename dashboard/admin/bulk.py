"""Bulk operations: the dry run and its form, the list, and the page with progress, results and buttons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, bulk, scope, telling
from dashboard.admin.readonly import ReadOnlyAdmin
from dashboard.bulk_form import BulkForm
from dashboard.models import BulkItem, BulkKind, BulkOperation, Outcome
from dashboard.templatetags.postroom import moment, tag
from providers.models import ProviderAccount

RUN = "dashboard.run_bulkoperation"
NEEDED = {
    BulkKind.RETRY: "tracking.retry_message",
    BulkKind.RETRY_VIA: "tracking.retry_message",
    BulkKind.CANCEL: "tracking.cancel_message",
}
TONES = {"running": ("processing", "◔"), "paused": ("bounced", "Ⅱ"), "done": ("delivered", "✓"), "cancelled": ("", "⊘")}
ITEMS = 50  # on one page
OUTCOMES = ("waiting", *filter(None, Outcome.values))


def may_run(request: HttpRequest, kind: BulkKind) -> bool:
    return request.user.has_perms([RUN, NEEDED[kind]])


@admin.register(BulkOperation)
class BulkOperationAdmin(ReadOnlyAdmin):
    list_display = ("number", "what", "shown_state", "progress_shown", "who", "reason", "created")
    empty_text = "None yet. Choose messages in their list, or filter it, and retry or cancel all that matches."

    @admin.display(description="operation")
    def number(self, operation: BulkOperation) -> SafeString:
        return format_html('<span class="number-left">{}</span>', operation.pk)

    @admin.display(description="what")
    def what(self, operation: BulkOperation) -> str:
        return operation.get_kind_display()

    @admin.display(description="state")
    def shown_state(self, operation: BulkOperation) -> SafeString:
        tone, sign = TONES[operation.state]
        return tag(tone, operation.state, sign)

    @admin.display(description="progress")
    def progress_shown(self, operation: BulkOperation) -> SafeString:
        return format_html('<span class="nowrap">{} of {}</span>', f"{operation.handled:,}", f"{operation.total:,}")

    @admin.display(description="created")
    def created(self, operation: BulkOperation) -> SafeString | str:
        return moment(operation.created_at)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("plan/", view(self.plan), name="dashboard_bulkoperation_plan"),
            path("<int:pk>/progress/", view(self.progress), name="dashboard_bulkoperation_progress"),
            *(
                actions.url(self, name, _control(self, deed, done), permission=RUN)
                for name, deed, done in (
                    ("pause", bulk.pause, "Paused"),
                    ("resume", bulk.resume, "Resumed"),
                    ("cancel", bulk.cancel, "Cancelled"),
                )
            ),
            *super().get_urls(),
        ]

    # --- the dry run

    def plan(self, request: HttpRequest) -> HttpResponse:
        """GET: what would be done, and the form. POST: the form; it makes the operation."""
        given = (request.POST if request.method == "POST" else request.GET).get("kind", "")
        if given not in BulkKind.values:
            raise Http404
        kind = BulkKind(given)
        if not may_run(request, kind):
            raise PermissionDenied
        if request.method == "POST":
            form = BulkForm(request.POST, kind=kind)
            return self._start(request, kind, form)
        query = request.GET.copy()
        for name in ("kind", "via"):
            query.pop(name, None)
        initial = {"kind": kind, "query": query.urlencode(), "seen_at": datetime.now(UTC), "token": uuid4()}
        via = request.GET.get("via", "")
        return self._show_plan(request, kind, BulkForm(initial={**initial, "via": via}, kind=kind), query, via)

    def _start(self, request: HttpRequest, kind: BulkKind, form: BulkForm) -> HttpResponse:
        query = QueryDict(request.POST.get("query", ""))
        if not form.is_valid():
            return self._show_plan(request, kind, form, query, request.POST.get("via", ""))
        values = form.cleaned_data
        via: ProviderAccount | None = values.get("via")
        try:
            operation, new = bulk.start(
                kind=kind,
                query=values["query"],
                seen_at=values["seen_at"],
                reason=values["reason"],
                rate=values["rate"],
                token=values["token"],
                user=request.user,  # type: ignore[arg-type]
                account_id=via.pk if via else None,
            )
        except scope.BadScope:
            return self._show_plan(request, kind, form, query, "")
        if not new:
            notices.warning(request, f"This operation was started already, by {operation.who}: here it is.")
        return redirect("admin:dashboard_bulkoperation_change", operation.pk)

    def _show_plan(
        self, request: HttpRequest, kind: BulkKind, form: BulkForm, query: QueryDict, via: str
    ) -> HttpResponse:
        account = ProviderAccount.objects.filter(pk=via).first() if via.isdecimal() and len(via) < 10 else None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{kind.label}: dry run",
            "kind": kind,
            "form": form,
            "via": account,
        }
        try:
            found = scope.read(query)
        except scope.BadScope as bad:
            context["wrong"] = bad.errors
        else:
            context |= {"plan": bulk.plan(found, kind, via=account), "query": found.query, "values": found.words}
        return TemplateResponse(request, "admin/dashboard/bulkoperation/plan.html", context)

    # --- one operation

    def page(self, request: HttpRequest, found: BulkOperation) -> dict[str, Any]:
        telling.check(request, outcome=OUTCOMES, after=None)
        return {
            "title": f"{found.get_kind_display()} · {found.pk}",
            "values": scope.words_of(found.query),
            **self._progress(request, found),
            **_items(found, request.GET.get("outcome", ""), request.GET.get("after", "")),
        }

    def progress(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The piece of the page that follows the work."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        found = BulkOperation.objects.filter(pk=pk).first()
        if found is None:
            raise Http404
        return TemplateResponse(request, "admin/dashboard/bulkoperation/progress.html", self._progress(request, found))

    def _progress(self, request: HttpRequest, found: BulkOperation) -> dict[str, Any]:
        tone, sign = TONES[found.state]
        left = found.total - found.handled
        return {
            "operation": found,
            "tone": tone,
            "sign": sign,
            "may_run": request.user.has_perm(RUN),
            "seconds_left": left / found.rate if found.state == "running" and found.collected_at else None,
            "left": left,
        }


def _control(
    model_admin: BulkOperationAdmin, deed: Callable[[int], bool], done: str
) -> Callable[[HttpRequest, BulkOperation], None]:
    def act(request: HttpRequest, operation: BulkOperation) -> None:
        if deed(operation.pk):
            model_admin.log_change(request, operation, done)
            notices.success(request, f"{done}.")
        else:
            notices.warning(request, f"Not done: the operation is {operation.state}.")

    return act


def _items(operation: BulkOperation, outcome: str, after: str) -> dict[str, Any]:
    """What became of each message, a page in id order."""
    items = BulkItem.objects.filter(operation_id=operation.pk).order_by("message_id")
    if outcome in OUTCOMES:
        items = items.filter(outcome="" if outcome == "waiting" else outcome)
    try:
        items = items.filter(message_id__gt=UUID(after)) if after else items
    except ValueError:
        after = ""
    found = list(items[: ITEMS + 1])
    return {
        "items": found[:ITEMS],
        "next": found[ITEMS - 1].message_id if len(found) > ITEMS else None,
        "after": after,
        "outcome": outcome,
        "outcomes": OUTCOMES,
    }
