"""The buttons of a message's page: each by POST, with a permission of its own, on the state that the page showed. Used
by the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib import messages as notices
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern

from dashboard import actions
from tracking.models import Message
from tracking.services import act
from tracking.services.record import Source


def urls(model_admin: admin.ModelAdmin[Any]) -> list[URLPattern]:
    return [
        actions.url(model_admin, name, deed, key="uuid", permission=f"tracking.{permission}")
        for name, deed, permission in (
            ("retry", _retry, "retry_message"),
            ("retry-via", _retry_via, "retry_message"),
            ("cancel", _cancel, "cancel_message"),
            ("send-again", _send_again, "resend_message"),
            ("suppress", _suppress, "suppress_recipient"),
        )
    ]


def _retry(request: HttpRequest, message: Message) -> None:
    source, seen = _operator(request), _seen(request)
    _do(request, lambda: act.retry(message.pk, source=source, seen=seen), "The message will be sent again.")


def _retry_via(request: HttpRequest, message: Message) -> None:
    source, seen, account = _operator(request), _seen(request), _number(request.POST.get("account", ""))
    _do(
        request,
        lambda: act.retry_via(message.pk, account_id=account, source=source, seen=seen),
        "The message will be sent again, through the account that you chose.",
    )


def _cancel(request: HttpRequest, message: Message) -> None:
    source, seen = _operator(request), _seen(request)
    _do(request, lambda: act.cancel(message.pk, source=source, seen=seen), "The message is cancelled.")


def _send_again(request: HttpRequest, message: Message) -> HttpResponse | None:
    token = request.POST.get("token", "")
    try:
        UUID(token)
    except ValueError:
        notices.error(request, "Not done: the form was incomplete.")
        return None
    source = _operator(request)
    copy = _do(
        request,
        lambda: act.send_again(message.pk, source=source, token=token),
        "This is the new message: it has the same content and recipient.",
    )
    return redirect("admin:tracking_message_change", copy) if copy else None


def _suppress(request: HttpRequest, message: Message) -> None:
    source = _operator(request)
    _do(
        request,
        lambda: act.suppress_recipient(message.pk, source=source),
        "The recipient is on the suppression list of this project: nothing more is sent there.",
    )


def _operator(request: HttpRequest) -> Source:
    return Source("admin", detail={"user": request.user.get_username()})


def _seen(request: HttpRequest) -> act.Seen | None:
    """What the page showed when the button was pressed; a second click finds it changed."""
    status, _, decisions = request.POST.get("seen", "").partition(".")
    return act.Seen(status, _number(decisions)) if status else None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _do(request: HttpRequest, deed: Callable[[], UUID | None], done: str) -> UUID | None:
    try:
        found = deed()
    except act.Missing:
        raise Http404 from None
    except act.Changed as changed:
        notices.warning(request, f"Not done: {changed}.")
    except act.Refused as refused:
        notices.error(request, f"Not done: {refused}.")
    else:
        notices.success(request, done)
        return found
    return None
