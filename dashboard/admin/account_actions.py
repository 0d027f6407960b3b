"""What operators can do to a provider account, by POST. Mixed into its admin."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import admin
from django.contrib import messages as notices
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse

from dashboard import actions, trial
from dashboard.forms import RotateForm, TestSendForm
from providers import registry, rotation
from providers.models import ProviderAccount
from providers.vault import SealBroken
from tracking import accounts, circuit, wake
from tracking.services import route

TEST, RESET = "providers.test_provideraccount", "providers.reset_circuit"
TEMPLATES = "admin/providers/provideraccount/"


class AccountActions(admin.ModelAdmin):  # type: ignore[type-arg]
    def action_urls(self) -> list[URLPattern]:
        return [
            actions.url(self, "reset-circuit", self.reset_circuit, permission=RESET),
            actions.url(self, "test-send", self.test_send, permission=TEST),
            actions.url(self, "switch", self.switch),
            actions.url(self, "rotate", self.rotate),
            actions.url(self, "end-rotation", self.end_rotation),
        ]

    def reset_circuit(self, request: HttpRequest, account: ProviderAccount) -> HttpResponse:
        circuit.reset(account.pk)
        wake.after_commit(wake.DISPATCH)
        self.log_change(request, account, "Reset the circuit.")
        notices.success(request, "The circuit is closed: the account is tried again at once.")
        return redirect(page_url(account))

    def test_send(self, request: HttpRequest, account: ProviderAccount) -> HttpResponse:
        form = TestSendForm(request.POST, account=account)
        if form.is_valid():
            self.log_change(request, account, "Sent a test message.")
            level, text = trial.outcome(account, form.cleaned_data["recipient"], form.cleaned_data["sender"])
            notices.add_message(request, level, text)
        _complain(request, "Test send", form)
        return redirect(page_url(account))

    def switch(self, request: HttpRequest, account: ProviderAccount) -> HttpResponse:
        """The form says which way, so that a second click changes nothing."""
        enabled = request.POST.get("enabled") == "on"
        if ProviderAccount.objects.filter(pk=account.pk, enabled=not enabled).update(enabled=enabled):
            accounts.forget()
            route.forget()
            wake.after_commit(wake.DISPATCH)
            self.log_change(request, account, "Enabled." if enabled else "Disabled.")
        word = "enabled: what waits for it goes now" if enabled else "disabled: what waits for it stays in the queue"
        notices.success(request, f"The account is {word}.")
        return redirect(page_url(account))

    def rotate(self, request: HttpRequest, account: ProviderAccount) -> HttpResponse:
        """The answer itself shows the new one: it goes through no session, log or redirect."""
        item = next((item for item in rotating(account) if item.name == request.POST.get("name")), None)
        form = RotateForm(request.POST, item=item)
        if item is None or not form.is_valid():
            _complain(request, "Rotation", form)
            return redirect(page_url(account))
        wanted = form.cleaned_data
        try:
            new = rotation.rotate(account_id=account.pk, name=item.name, days=wanted["days"], value=wanted["value"])
        except rotation.Refused as refused:
            notices.error(request, str(refused))
            return redirect(page_url(account))
        accounts.forget()
        self.log_change(request, account, f"Rotated: {item.label}; the old one counts for {wanted['days']} days.")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{item.label} of {account.code}",
            "new": new if not wanted["value"] else "",
            "item": item,
            "days": wanted["days"],
            "page_url": page_url(account),
        }
        return TemplateResponse(request, f"{TEMPLATES}rotated.html", context, headers={"Cache-Control": "no-store"})

    def end_rotation(self, request: HttpRequest, account: ProviderAccount) -> HttpResponse:
        try:
            rotation.end(account_id=account.pk, name=request.POST.get("name", ""))
        except rotation.Refused as refused:
            notices.error(request, str(refused))
            return redirect(page_url(account))
        accounts.forget()
        self.log_change(request, account, f"Ended the old {request.POST['name']}.")
        notices.success(request, "The old one is no longer accepted.")
        return redirect(page_url(account))


def page_url(account: ProviderAccount) -> str:
    return reverse("admin:providers_provideraccount_page", args=[account.pk])


def _complain(request: HttpRequest, what: str, form: Form) -> None:
    for name, errors in form.errors.items():
        notices.error(request, f"{what}, {name}: {' '.join(map(str, errors))}")


def rotating(account: ProviderAccount) -> Sequence[rotation.Rotating]:
    """None where the adapter or the credentials cannot be opened."""
    try:
        return rotation.of(account)
    except (SealBroken, registry.UnknownKind, ImportError):
        return ()
