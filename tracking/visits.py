"""The addresses that messages carry: pixel, links, unsubscribing, an app's callbacks. Open to everybody: what counts is
the signature in the address. A GET changes nothing but what is known of engagement.

No answer is stored, indexed or tells where its reader came from; a redirect leads nowhere but where the message did.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from tracking.engagement import tokens
from tracking.engagement.tokens import Handed, Use
from tracking.services import visits
from tracking.statuses import FactKind

log = logging.getLogger(__name__)

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")  # one transparent pixel
_EVENTS = {"received": FactKind.DELIVERED, "opened": FactKind.OPENED}
# for browsers: a worker of any site may call, with any body
_ANY_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "86400",
}
_PRIVATE = {
    "Cache-Control": "no-store, private",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
}

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def private(*methods: str) -> Callable[[View[P]], View[P]]:
    """These methods alone, and answers that leave no traces."""

    def decorate(view: View[P]) -> View[P]:
        @csrf_exempt  # the signature in the address is what allows it; mail clients bring nothing else
        @require_http_methods(list(methods))
        @wraps(view)
        def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            response = view(request, *args, **kwargs)
            for name, value in _PRIVATE.items():
                response.headers[name] = value
            return response

        return answer

    return decorate


@private("GET", "HEAD")
def opened(request: HttpRequest, token: str) -> HttpResponse:
    """The pixel. It is shown even where the open could not be stored; the status says so."""
    handed = tokens.read(Use.OPEN, token)
    if handed is None:
        return HttpResponse(GIF, status=404, content_type="image/gif")
    return HttpResponse(GIF, status=200 if _taken(request, handed, FactKind.OPENED) else 503, content_type="image/gif")


@private("GET", "HEAD")
def clicked(request: HttpRequest, token: str) -> HttpResponse:
    handed = tokens.read(Use.CLICK, token)
    return _unknown(request) if handed is None else _redirect(request, handed)


@private("GET", "HEAD")
def short(request: HttpRequest, code: str) -> HttpResponse:
    handed = visits.of_code(code) if tokens.is_code(code) else None
    return _unknown(request) if handed is None else _redirect(request, handed)


@private("GET", "HEAD", "POST")
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """GET: the page that asks. POST: one click of a mail client (RFC 8058), or of the page."""
    handed = tokens.read(Use.UNSUBSCRIBE, token)
    if handed is None:
        return _unknown(request)
    wanted = request.method == "POST"
    if wanted and request.POST.get("List-Unsubscribe") != "One-Click":
        return _said(request, 400, "Nothing was changed", "The request did not say List-Unsubscribe=One-Click.")
    page = visits.unsubscribe(handed) if wanted else visits.page(handed)
    return _gone(request) if page is None else render(request, "engagement/unsubscribe.html", {"page": page})


@private("POST", "OPTIONS")
def pushed(request: HttpRequest, token: str, event: str) -> HttpResponse:
    """An app, or a page's service worker, tells what became of a push message. It needs no cookie and gets none."""
    handed = tokens.read(Use.PUSH, token)
    kind = _EVENTS.get(event)
    if handed is None or kind is None:
        status = 404
    else:
        status = 204 if request.method == "OPTIONS" or _taken(request, handed, kind) else 503
    return HttpResponse(status=status, headers=_ANY_ORIGIN)


def _redirect(request: HttpRequest, handed: Handed) -> HttpResponse:
    target = visits.target(handed)
    if target is None:
        return _gone(request)
    _taken(request, handed, FactKind.CLICKED, url=target)
    return HttpResponseRedirect(target)


def _taken(request: HttpRequest, handed: Handed, kind: FactKind, url: str = "") -> bool:
    """False where it could not be stored: the reader is served all the same."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        visits.take(handed, kind, method=request.method or "", headers=headers, url=url)
    except (DatabaseError, InterfaceError) as error:
        log.error("a visit could not be stored: %s", error)
        return False
    return True


def _unknown(request: HttpRequest) -> HttpResponse:
    return _said(request, 404, "Nothing is here", "This address is not complete. Was a part of it lost on the way?")


def _gone(request: HttpRequest) -> HttpResponse:
    text = "The message that this address came with is not kept any more. Please ask its sender."
    return _said(request, 410, "No longer available", text)


def _said(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    return render(request, "engagement/said.html", {"title": title, "text": text}, status=status)
