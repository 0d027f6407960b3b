"""What providers sent: raw requests and receipts without an attempt. To read, to replay, to try again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, filters, inbound_page
from dashboard.admin.readonly import SHORT_ID, ReadOnlyAdmin
from dashboard.templatetags.postroom import clipped, moment, tag
from tracking import ids, wake
from tracking.models import Inbound, Unmatched
from tracking.services import inbound, unmatched

TONES = {"new": ("processing", "◔"), "done": ("delivered", "✓"), "error": ("failed", "✕")}


def state_pill(state: str) -> SafeString:
    tone, sign = TONES.get(state, ("cancelled", "•"))
    return tag(tone, state, sign)


class _Accounts(ReadOnlyAdmin):
    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["account"]
        for row in rows:
            row.account_code = known.get(row.account_id, "")

    @admin.display(description="account", empty_value="–")
    def account_shown(self, row: Any) -> SafeString | None:
        return clipped(row.account_code) if row.account_code else None


@admin.register(Inbound)
class InboundAdmin(_Accounts):
    list_display = (
        "short_id",
        "account_shown",
        "state_shown",
        "receipts_shown",
        "unmatched_shown",
        "fault",
        "received",
    )
    list_filter = (filters.StateFilter, filters.AccountFilter, filters.WindowFilter)
    empty_text = "No request matches. Providers send their receipts to an account’s hook address."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("body", "headers")

    def time_of(self, key: Any) -> datetime:
        return ids.time_of(key)

    @admin.display(description="id")
    def short_id(self, row: Inbound) -> SafeString:
        return format_html('<span class="mono" title="{}">{}</span>', row.pk, str(row.pk)[:SHORT_ID])

    @admin.display(description="state")
    def state_shown(self, row: Inbound) -> SafeString:
        return state_pill(row.state)

    @admin.display(description="receipts")
    def receipts_shown(self, row: Inbound) -> SafeString:
        return format_html('<span class="number">{}</span>', row.receipts)

    @admin.display(description="unmatched")
    def unmatched_shown(self, row: Inbound) -> SafeString:
        return format_html('<span class="number">{}</span>', row.unmatched)

    @admin.display(description="error", empty_value="")
    def fault(self, row: Inbound) -> SafeString | None:
        return format_html('<bdi class="clip" title="{}">{}</bdi>', row.error, row.error) if row.error else None

    @admin.display(description="received")
    def received(self, row: Inbound) -> SafeString | str:
        return moment(ids.time_of(row.pk))

    def page(self, request: HttpRequest, found: Inbound) -> dict[str, Any]:
        return {"state_pill": state_pill(found.state), **inbound_page.context(found)}

    def get_urls(self) -> list[URLPattern]:
        return [actions.url(self, "replay", _replay, key="uuid"), *super().get_urls()]


def _replay(request: HttpRequest, row: Inbound) -> None:
    if not inbound.replay(row.pk):
        raise Http404
    notices.success(request, "The request is read again; what is known already counts once.")


@admin.register(Unmatched)
class UnmatchedAdmin(_Accounts):
    list_display = ("number", "account_shown", "kind", "names", "why", "tries", "next_try", "received")
    list_filter = (filters.WaitingFilter, filters.AccountFilter)
    actions = ("try_now",)
    empty_text = "Every receipt has found its message."

    @admin.display(description="id")
    def number(self, row: Unmatched) -> SafeString:
        return format_html('<span class="number">{}</span>', row.pk)

    @admin.display(description="receipt")
    def kind(self, row: Unmatched) -> str:
        return str(row.receipt.get("kind", ""))

    @admin.display(description="names")
    def names(self, row: Unmatched) -> SafeString:
        told = row.receipt.get("echo") or row.receipt.get("reference") or "–"
        return format_html('<bdi class="clip mono" title="{}">{}</bdi>', told, told)

    @admin.display(description="next try")
    def next_try(self, row: Unmatched) -> SafeString | str:
        return moment(row.next_try_at) if row.next_try_at else "given up"

    @admin.display(description="received")
    def received(self, row: Unmatched) -> SafeString | str:
        return moment(row.received_at)

    @admin.action(description="Try the selected receipts now", permissions=["change"])
    def try_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        count = unmatched.try_now(list(queryset.values_list("pk", flat=True)))
        wake.after_commit(wake.RECEIVE)
        notices.success(request, f"{count} {'receipt is' if count == 1 else 'receipts are'} tried again at once.")

    def page(self, request: HttpRequest, found: Unmatched) -> dict[str, Any]:
        return {
            "title": f"Unmatched receipt {found.pk}",
            "fields": [(name, value) for name, value in found.receipt.items() if value not in ("", None, {}, False)],
            "inbound_url": reverse("admin:tracking_inbound_change", args=[found.inbound_id]),
        }
