"""Provider accounts: set up, watched, tried out, acted on. Secrets go in and never come out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib import messages as notices
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from dashboard import account_page, incidents, overview, overview_form
from dashboard.admin.account_actions import RESET, TEMPLATES, TEST, AccountActions, page_url, rotating
from dashboard.charts import Mark
from dashboard.filters import ListedFiltersOnly
from dashboard.forms import CLEAR, RotateForm, TestSendForm, account_form, field_name
from dashboard.telling import TellingChangeList
from dashboard.templatetags.postroom import clipped, tag
from providers import base, registry
from providers.chat import channels
from providers.models import Circuit, ProviderAccount
from providers.vault import SealBroken
from tracking import accounts, wake
from tracking.models import Grant
from tracking.services import route


class Accounts(TellingChangeList):
    def url_for_result(self, result: Any) -> str:
        return page_url(result)


class GrantInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Grant
    extra = 0
    verbose_name = "project that may use it"
    verbose_name_plural = "projects that may use it"


def adapter_of(kind: str) -> type[base.Provider] | None:
    """None where this installation cannot load the adapter: unknown, or a library is missing."""
    try:
        return registry.adapter(kind)
    except (registry.UnknownKind, ImportError):
        return None


def described(kind: str) -> dict[str, Any] | None:
    """What the pages say about an adapter. A template would call the class itself."""
    adapter = adapter_of(kind)
    if adapter is None:
        return None
    return {
        "title": adapter.title,
        "channels": ", ".join(sorted(adapter.channels)),
        "methods": ", ".join(sorted(adapter.hook_methods)),
        "signature_covers": adapter.signature_covers,
        "echoes_metadata": adapter.echoes_metadata,
        "sends_receipts": adapter.sends_receipts,
        "timeout": adapter.timeout,
    }


@admin.register(ProviderAccount)
class AccountAdmin(AccountActions, ListedFiltersOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("shown_code", "kind", "channel", "state", "rate", "in_flight", "weight", "price")
    list_filter = ("channel", "kind", "enabled")
    list_select_related = ("circuit",)
    search_fields = ("code", "name")
    show_full_result_count = False
    inlines = (GrantInline,)
    add_form_template = f"{TEMPLATES}form.html"
    change_form_template = f"{TEMPLATES}form.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Accounts

    def has_delete_permission(self, request: HttpRequest, obj: ProviderAccount | None = None) -> bool:
        return False  # messages refer to it for ever: it is disabled instead

    # --- the list

    @admin.display(description="code", ordering="code")
    def shown_code(self, account: ProviderAccount) -> SafeString:
        return clipped(account.code)

    @admin.display(description="state")
    def state(self, account: ProviderAccount) -> SafeString:
        if not account.enabled:
            return tag("cancelled", "disabled", "⊘")
        found = circuit_of(account)
        if found and found.open_until:
            return tag("failed", "circuit open", "✕")
        return tag("delivered", "ready", "✓")

    @admin.display(description="rate", empty_value="no limit")
    def rate(self, account: ProviderAccount) -> str | None:
        return None if account.rate_per_second is None else f"{account.rate_per_second:g}/s"

    @admin.display(description="in flight")
    def in_flight(self, account: ProviderAccount) -> str:
        return f"≤ {account.max_in_flight}"

    @admin.display(description="price a part", empty_value="–")
    def price(self, account: ProviderAccount) -> str | None:
        return f"{account.price_per_part.normalize():f} {account.currency}" if account.price_per_part else None

    # --- the form

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if self.has_add_permission(request) and adapter_of(request.GET.get("kind", "")) is None:
            context = {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": "Add a provider account",
                # Postroom's own is not made here
                "kinds": [(kind, described(kind)) for kind in registry.kinds() if kind != channels.KIND],
            }
            return TemplateResponse(request, f"{TEMPLATES}kinds.html", context)
        return super().add_view(request, form_url, extra_context)

    def _kind(self, request: HttpRequest, account: ProviderAccount | None) -> str:
        return account.kind if account else request.GET.get("kind", "")

    def _editable(self, request: HttpRequest, account: ProviderAccount | None) -> bool:
        """Without the permission, or without the adapter, its settings cannot be shown as a form."""
        allowed = self.has_change_permission(request, account) if account else self.has_add_permission(request)
        return allowed and adapter_of(self._kind(request, account)) is not None

    def get_form(
        self, request: HttpRequest, obj: ProviderAccount | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if self._editable(request, obj):
            kwargs["form"] = account_form(self._kind(request, obj))
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: ProviderAccount | None = None) -> Any:
        names = ("code", "name", "channel", "enabled")
        limits = ("rate_per_second", "max_in_flight", "weight", "price_per_part", "currency")
        adapter = adapter_of(self._kind(request, obj))
        title = adapter.title if adapter else self._kind(request, obj)
        settings: tuple[str, ...] = ("settings_shown",)
        if self._editable(request, obj) and adapter:
            form = account_form(adapter.kind)
            settings = tuple(
                name
                for setting in adapter.settings
                for name in (field_name(setting), f"{CLEAR}{setting.name}")
                if name in form.base_fields and not (name.startswith(CLEAR) and not self._has(obj, setting))
            )
        return [
            (None, {"fields": names}),
            (title, {"fields": settings}),
            ("Limits and price", {"fields": limits}),
        ]

    def _has(self, account: ProviderAccount | None, setting: base.Setting) -> bool:
        return account is not None and setting.name in known_secrets(account)

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderAccount | None = None) -> tuple[str, ...]:
        shown = () if self._editable(request, obj) else ("settings_shown",)
        return (*(("code", "channel") if obj else ()), *shown)

    @admin.display(description="settings")
    def settings_shown(self, account: ProviderAccount) -> SafeString:
        rows = [f"{name}: {value}" for name, value in sorted(account.settings.items())]
        rows += [f"{name}: set" for name in sorted(known_secrets(account))]
        return format_html('<pre class="raw">{}</pre>', "\n".join(rows) or "none")

    def save_model(self, request: HttpRequest, obj: ProviderAccount, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        accounts.forget()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        route.forget()
        wake.after_commit(wake.DISPATCH)  # what waited for it may go now

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        account = self.get_object(request, object_id) if object_id else None
        extra = {"seal_broken": seal_broken(account), "page_url": page_url(account)} if account else {}
        return super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    def response_post_save_change(self, request: HttpRequest, obj: ProviderAccount) -> HttpResponseRedirect:
        return redirect(page_url(obj))

    # --- the page

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/", view(self.page), name="providers_provideraccount_page"),
            path("<int:pk>/receipts/", view(self.receipts), name="providers_provideraccount_receipts"),
            path("<int:pk>/failures/", view(self.failures), name="providers_provideraccount_failures"),
            *self.action_urls(),
            *super().get_urls(),
        ]

    def _viewed(self, request: HttpRequest, pk: int) -> ProviderAccount:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        found: ProviderAccount = get_object_or_404(self.get_queryset(request).select_related("circuit"), pk=pk)
        return found

    @method_decorator(require_safe)
    def page(self, request: HttpRequest, pk: int) -> HttpResponse:
        account = self._viewed(request, pk)
        chosen = request.GET.get("period", overview_form.USUAL)
        if chosen not in overview_form.SPANS:
            notices.warning(request, f"There is no period “{chosen[:50]}”: these are 24 hours.")
            chosen = overview_form.USUAL
        asked = account_page.asked_of(request, account, chosen)
        going, waiting = account_page.in_flight(account)
        can_change = self.has_change_permission(request, account)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": account.code,
            "account": account,
            "state": self.state(account),
            "adapter": described(account.kind),
            "circuit": (found := circuit_of(account)),
            "shut": found is not None and found.open_until is not None and found.open_until > datetime.now(UTC),
            "seal_broken": seal_broken(account),
            "can_change": can_change,
            "can_test": request.user.has_perm(TEST),
            "can_reset": request.user.has_perm(RESET),
            "test_form": TestSendForm(account=account),
            "rotating": [(item, RotateForm(item=item)) for item in rotating(account)] if can_change else (),
            "in_flight": going,
            "waiting": waiting,
            "bound": account_page.BOUND,
            "messages_url": f"{reverse('admin:tracking_message_changelist')}?account={account.pk}",
            "inbound_url": f"{reverse('admin:tracking_inbound_changelist')}?account={account.pk}",
            "periods": [(key, text) for key, (text, _, _) in overview_form.SPANS.items()],
            **account_page.figures(account, asked, self._incidents(request, asked)),
        }
        return TemplateResponse(request, f"{TEMPLATES}page.html", context)

    def _incidents(self, request: HttpRequest, asked: overview_form.Asked) -> list[Mark]:
        if not request.user.has_perm("dashboard.view_incident"):
            return []
        scope = asked.scope
        return overview.marks(incidents.incidents_between(scope.since, scope.until, scope), asked)

    @method_decorator(require_safe)
    def receipts(self, request: HttpRequest, pk: int) -> HttpResponse:
        account = self._viewed(request, pk)
        if not request.user.has_perm("tracking.view_inbound"):
            raise PermissionDenied
        try:
            before = UUID(request.GET["before"]) if request.GET.get("before") else None
        except ValueError:
            before = None
        context = {"account": account, **account_page.receipts(account, before)}
        return TemplateResponse(request, f"{TEMPLATES}receipts.html", context)

    @method_decorator(require_safe)
    def failures(self, request: HttpRequest, pk: int) -> HttpResponse:
        account = self._viewed(request, pk)
        context = {"account": account, "failures": account_page.failures(account), "looked_at": account_page.FAILURES}
        return TemplateResponse(request, f"{TEMPLATES}failures.html", context)


def known_secrets(account: ProviderAccount) -> frozenset[str]:
    """The names of the secrets that are set; none where they cannot be opened."""
    try:
        return frozenset(name for name, value in account.credentials.items() if value)
    except SealBroken:
        return frozenset()


def seal_broken(account: ProviderAccount) -> bool:
    try:
        return not isinstance(account.credentials, dict)
    except SealBroken:
        return True


def circuit_of(account: ProviderAccount) -> Circuit | None:
    try:
        return account.circuit
    except Circuit.DoesNotExist:
        return None
