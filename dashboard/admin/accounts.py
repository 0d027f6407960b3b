"""Provider accounts: set up, tried out, watched. Secrets go in and never come out."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib import admin
from django.contrib import messages as notices
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import actions, words
from dashboard.filters import ListedFiltersOnly
from dashboard.forms import CLEAR, TestSendForm, account_form, field_name
from dashboard.templatetags.postroom import tag
from providers import base, registry
from providers.base import Channel, Outbound, ProviderError
from providers.models import Circuit, ProviderAccount
from providers.vault import SealBroken
from tracking import accounts, circuit, ids, wake
from tracking.models import Grant
from tracking.services import route

TEST, RESET = "providers.test_provideraccount", "providers.reset_circuit"
SHOWN_TEXT = 500  # characters of a vendor's answer in a notice


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
class AccountAdmin(ListedFiltersOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("code", "kind", "channel", "state", "rate", "in_flight", "weight", "price")
    list_filter = ("channel", "kind", "enabled")
    list_select_related = ("circuit",)
    search_fields = ("code", "name")
    show_full_result_count = False
    inlines = (GrantInline,)
    add_form_template = "admin/providers/provideraccount/form.html"
    change_form_template = "admin/providers/provideraccount/form.html"

    def has_delete_permission(self, request: HttpRequest, obj: ProviderAccount | None = None) -> bool:
        return False  # messages refer to it for ever: it is disabled instead

    # --- the list

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
                "kinds": [(kind, described(kind)) for kind in registry.kinds()],
            }
            return TemplateResponse(request, "admin/providers/provideraccount/kinds.html", context)
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
        extra = {"panel": self._panel(request, account)} if account and request.method == "GET" else {}
        return super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    def _panel(self, request: HttpRequest, account: ProviderAccount) -> dict[str, Any]:
        return {
            "account": account,
            "adapter": described(account.kind),
            "circuit": circuit_of(account),
            "can_test": request.user.has_perm(TEST),
            "can_reset": request.user.has_perm(RESET),
            "may_know_hook": self.has_change_permission(request, account),
            "test_form": TestSendForm(account=account),
            "messages_url": f"{reverse('admin:tracking_message_changelist')}?account={account.pk}",
            "inbound_url": f"{reverse('admin:tracking_inbound_changelist')}?account={account.pk}",
            "seal_broken": seal_broken(account),
        }

    # --- actions

    def get_urls(self) -> list[URLPattern]:
        return [
            actions.url(self, "reset-circuit", self.reset_circuit, permission=RESET),
            actions.url(self, "test-send", self.test_send, permission=TEST),
            *super().get_urls(),
        ]

    def reset_circuit(self, request: HttpRequest, account: ProviderAccount) -> None:
        circuit.reset(account.pk)
        wake.after_commit(wake.DISPATCH)
        self.log_change(request, account, "Reset the circuit.")
        notices.success(request, "The circuit is closed: the account is tried again at once.")

    def test_send(self, request: HttpRequest, account: ProviderAccount) -> None:
        form = TestSendForm(request.POST, account=account)
        if not form.is_valid():
            for name, errors in form.errors.items():
                notices.error(request, f"Test send, {name}: {' '.join(map(str, errors))}")
            return
        self.log_change(request, account, "Sent a test message.")
        level, text = outcome(account, form.cleaned_data["recipient"], form.cleaned_data["sender"])
        notices.add_message(request, level, text)


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


def outcome(account: ProviderAccount, recipient: str, sender: str) -> tuple[int, str]:
    """Hand one message over and say in words what came of it. An adapter bounds its own time (`Provider.timeout`)."""
    outbound = Outbound(
        echo=ids.echo(ids.new(), 1),
        idempotency_key=f"test-{uuid4()}",
        channel=Channel(account.channel),
        recipient=recipient,
        sender=sender,
        subject="Test message from Postroom",
        text="This is a test message: an operator of Postroom has tried this account.",
    )
    try:
        result = account.adapter().send(outbound)
    except ProviderError as error:
        fault = " The account or its set-up is at fault." if error.classification.account_fault else ""
        code = f" {error.code}" if error.code else ""
        text = f"{words.failure(error.failure)}:{code} {error.text[:SHOWN_TEXT]}"
        return notices.ERROR, f"The provider did not take the message. {text}.{fault}"
    except Exception as error:  # whatever an adapter's library raises is an answer too
        return notices.ERROR, f"The call broke: {type(error).__name__}: {str(error)[:SHOWN_TEXT]}"
    answer = f"{result.code} {result.text}".strip()[:SHOWN_TEXT]
    reference = f" Its id there is {result.reference}." if result.reference else ""
    return notices.SUCCESS, f"The provider took the message: {answer or 'no further words'}.{reference}"
