"""Who got a message to a channel and who read it: a page of the console beside the message's own, and what a project
sets for its channels. Reads only; used by the admin.

The page itself counts; the list below comes by itself, fifty at a time, so that 100,000 members are as quick as ten.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.http import urlencode

from dashboard import telling
from tracking import cursors
from tracking.models import ChannelMessage, ChannelSettings, Membership, Message
from tracking.models.channel import RECIPIENT
from tracking.services import channel_receipts
from tracking.services.channel_receipts import MARKERS, Place

SHOWN = 50
TEMPLATES = "admin/tracking/message/"


class ChannelSettingsInline(admin.TabularInline):  # type: ignore[type-arg]
    model = ChannelSettings
    can_delete = False
    verbose_name_plural = "channels"


class Wanted(forms.Form):
    """Which receivers the page is about. What is left out means all."""

    kind = forms.ChoiceField(choices=[(kind, kind) for kind in MARKERS], required=False)
    membership = forms.ChoiceField(choices=[("", "everybody"), *Membership.choices], required=False)

    def asked(self) -> tuple[str, list[str] | None]:
        """The kind of receipt and the memberships; what cannot be read is as if it were not there."""
        self.is_valid()
        membership = self.cleaned_data.get("membership")
        return self.cleaned_data.get("kind") or "delivered", [membership] if membership else None


def place_of(message: Message) -> ChannelMessage | None:
    """Its place in a channel, if it went to one."""
    return _place(message.pk) if message.recipient.startswith(RECIPIENT) else None


def _place(message_id: UUID) -> ChannelMessage | None:
    return ChannelMessage.objects.select_related("channel", "creator__user").filter(pk=message_id).first()


def urls(model_admin: admin.ModelAdmin[Any]) -> list[URLPattern]:
    def whole(request: HttpRequest, pk: UUID) -> HttpResponse:
        return _answer(model_admin, request, pk, _page)

    def piece(request: HttpRequest, pk: UUID) -> HttpResponse:
        return _answer(model_admin, request, pk, _list)

    view = model_admin.admin_site.admin_view
    return [
        path("<uuid:pk>/receivers/", view(whole), name="tracking_message_receivers"),
        path("<uuid:pk>/receivers/list/", view(piece), name="tracking_message_receivers-list"),
    ]


def _answer(model_admin: admin.ModelAdmin[Any], request: HttpRequest, pk: UUID, make: Any) -> HttpResponse:
    if not model_admin.has_view_or_change_permission(request):
        raise PermissionDenied
    place = _place(pk)
    if place is None:
        notices.warning(request, "This message went to no channel.")
        return redirect("admin:tracking_message_change", pk)
    context = {"opts": model_admin.opts, "place": place, "hidden": _hidden(place)}
    template, more = make(request, place, hidden=context["hidden"])
    return TemplateResponse(
        request, f"{TEMPLATES}{template}", {**model_admin.admin_site.each_context(request), **context, **more}
    )


def _hidden(place: ChannelMessage) -> bool:
    try:
        channel_receipts.visible(place)
    except channel_receipts.Hidden:
        return True
    return False


def _page(request: HttpRequest, place: ChannelMessage, *, hidden: bool) -> tuple[str, dict[str, Any]]:
    telling.check(request, kind=MARKERS, membership=Membership.values)
    form = Wanted(request.GET or None)
    kind, memberships = Wanted(request.GET).asked()
    counts = None if hidden else channel_receipts.counts([place], memberships)[place.pk]
    query = urlencode({"kind": kind, "membership": memberships[0] if memberships else ""})
    message = Message.objects.filter(pk=place.pk).first()
    return "receivers.html", {
        "title": "Receivers",
        "message": message,
        "form": form,
        "kind": kind,
        "membership": memberships[0] if memberships else "",
        "counts": counts,
        "query": query,
    }


def _list(request: HttpRequest, place: ChannelMessage, *, hidden: bool) -> tuple[str, dict[str, Any]]:
    kind, memberships = Wanted(request.GET).asked()
    after = _after(request.GET.get("after", ""))
    page = channel_receipts.Page([], None)
    if not hidden:
        page = channel_receipts.page(place, kind, memberships=memberships, after=after, limit=SHOWN)
    more = {"kind": kind, "membership": memberships[0] if memberships else ""}
    return "receivers_list.html", {
        "first": after is None,
        "kind": kind,
        "receivers": page.receivers,
        "more": urlencode({**more, "after": cursors.encode(page.next)}) if page.next else "",
    }


def _after(text: str) -> Place | None:
    """A place that cannot be read is the beginning."""
    try:
        marker, member = cursors.decode(text, 2)
    except cursors.NotACursor:
        return None
    return marker, member
