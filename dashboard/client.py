"""The address that a request really comes from. The only reader of X-Forwarded-For: whoever stands in front of us can
write anything into it, so only as many hops are believed as there are proxies of ours (settings.PROXY_COUNT)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PORT")


class ClientAddress:
    """First of MIDDLEWARE: puts the address into REMOTE_ADDR, and takes the header away from everybody behind."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        hops = request.META.get(_FORWARDED[0], "").split(",")
        for name in _FORWARDED:
            request.META.pop(name, None)
        count: int = settings.PROXY_COUNT
        if 0 < count <= len(hops) and (found := _valid(hops[-count])):
            request.META["REMOTE_ADDR"] = found
        return self.get_response(request)


def _valid(text: str) -> str:
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return ""


def address(request: HttpRequest) -> str | None:
    """For the login limits. None where the server did not say, as under a Unix socket."""
    return _valid(request.META.get("REMOTE_ADDR", "")) or None
