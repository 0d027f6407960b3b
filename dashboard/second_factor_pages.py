"""The pages of an operator's own second factor: set it up, and show a code at the login. Used by dashboard.site."""

from __future__ import annotations

from typing import Any

import segno
from django import forms
from django.conf import settings
from django.contrib import admin, auth
from django.contrib import messages as notices
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods
from django_otp import login as verified_by

from dashboard import audit, second_factor

WRONG = "This code is not right. Codes change every 30 seconds and serve once; check the device’s clock."
DEAF = "Too many wrong codes: wait a little, then enter a new one."


class CodeForm(forms.Form):
    code = forms.CharField(
        max_length=20,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autocapitalize": "none", "spellcheck": "false", "autofocus": True}
        ),
    )


@never_cache
@csrf_protect
@require_http_methods(["GET", "POST"])
def ask(request: HttpRequest) -> HttpResponse:
    """After the password: the code."""
    user: Any = request.user
    if not _staff(request):
        return redirect_to_login(request.get_full_path(), resolve_url("admin:login"))
    if "leave" in request.POST:
        auth.logout(request)
        return redirect("admin:login")
    if not second_factor.owed(request):
        return redirect(_next(request))
    if not second_factor.has_device(user):
        return redirect("admin:second_factor")
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        deaf = second_factor.deaf(user=user)
        device = second_factor.check(user=user, code=form.cleaned_data["code"])
        if device is not None:
            verified_by(request, device)
            return redirect(_next(request))
        form.add_error("code", DEAF if deaf else WRONG)
    return _show(request, "admin/second_factor_code.html", "Enter the code", form=form, next=_next(request))


@never_cache
@csrf_protect
@require_http_methods(["GET", "POST"])
def manage(request: HttpRequest) -> HttpResponse:
    """Set it up, change it, remove it. Also reached by somebody who must set one up before anything else."""
    user: Any = request.user
    if not _staff(request):
        return redirect_to_login(request.get_full_path(), resolve_url("admin:login"))
    if second_factor.has_device(user) and not user.is_verified():
        second_factor.remember(request)  # it may have been set up elsewhere since this session began
        return redirect("admin:second_factor_code")
    deeds = {"begin": _begin, "confirm": _confirm, "codes": _codes, "remove": _remove}
    deed = deeds.get(request.POST.get("action", "")) if request.method == "POST" else None
    return deed(request) if deed else _overview(request)


def _overview(request: HttpRequest, **more: Any) -> HttpResponse:
    user: Any = request.user
    state = {
        "has_device": second_factor.has_device(user),
        "codes_left": second_factor.recovery_codes_left(user=user),
        "required": bool(settings.REQUIRE_TOTP),
        "remove_form": CodeForm(prefix="remove"),
    }
    return _show(request, "admin/second_factor.html", "Two-step login", **{**state, **more})


def _begin(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    device = second_factor.begin(user=user)
    picture = segno.make(device.config_url, error="m").svg_data_uri(scale=5, dark="#000", light="#fff", border=3)
    secret = second_factor.secret_of(device)
    grouped = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    return _overview(request, picture=picture, secret=grouped, form=CodeForm())


def _confirm(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    form = CodeForm(request.POST)
    device = second_factor.confirm(user=user, code=form.cleaned_data["code"]) if form.is_valid() else None
    if device is None:
        form.add_error("code", WRONG)
        return _overview(request, form=form)
    verified_by(request, device)
    second_factor.remember(request)
    _on_record(request, "set up")
    return _shown_once(request)


def _codes(request: HttpRequest) -> HttpResponse:
    if not second_factor.has_device(request.user):
        return _overview(request)
    _on_record(request, "new recovery codes")
    return _shown_once(request)


def _shown_once(request: HttpRequest) -> HttpResponse:
    """The answer itself shows the codes: they go through no session, log or redirect."""
    user: Any = request.user
    return _overview(request, codes=second_factor.new_recovery_codes(user=user))


def _remove(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    form = CodeForm(request.POST, prefix="remove")
    if settings.REQUIRE_TOTP:
        notices.error(request, "Everybody needs a second step here: it can be replaced, not removed.")
        return redirect("admin:second_factor")
    deaf = second_factor.deaf(user=user)
    if not form.is_valid() or second_factor.check(user=user, code=form.cleaned_data["code"]) is None:
        form.add_error("code", DEAF if deaf else WRONG)
        return _overview(request, remove_form=form)
    second_factor.reset(user=user)
    second_factor.remember(request)
    _on_record(request, "removed")
    notices.success(request, "The second step is removed: the password alone opens the door again.")
    return redirect("admin:second_factor")


def _on_record(request: HttpRequest, what: str) -> None:
    user: Any = request.user
    audit.note(user, audit.UPDATE, user.get_username(), {"two-step login": what})


def _staff(request: HttpRequest) -> bool:
    """Known by password; the code may be owed."""
    return request.user.is_active and request.user.is_staff


def _next(request: HttpRequest) -> str:
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else resolve_url("admin:index")


def _show(request: HttpRequest, template: str, title: str, **more: Any) -> HttpResponse:
    return TemplateResponse(request, template, {**admin.site.each_context(request), "title": title, **more})
