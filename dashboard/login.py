"""The limit on failed logins: under which name they count, and what somebody sees who is locked out. Called by
django-axes (settings)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from dashboard import client

NAME_LENGTH = 150


def locked(
    request: HttpRequest, original: HttpResponse | None = None, credentials: Mapping[str, Any] | None = None
) -> HttpResponse:
    """429, and for how many minutes. Says the same whether there is such a user or not."""
    seconds = _seconds_left(request, username(request, credentials))
    context = {**admin.site.each_context(request), "title": "Login locked", "minutes": ceil(seconds / 60)}
    response = render(request, "admin/locked.html", context, status=429)
    response.headers["Retry-After"] = str(ceil(seconds))
    return response


def username(request: HttpRequest, credentials: Mapping[str, Any] | None = None) -> str:
    """Under which a failure is counted: no longer than a name can be, whatever was typed."""
    given = credentials if credentials is not None else request.POST
    return str(given.get("username") or "")[:NAME_LENGTH]


def _seconds_left(request: HttpRequest, name: str) -> float:
    """Until the last failure that counted is old enough."""
    last = (
        AccessAttempt.objects.filter(username=name, ip_address=client.address(request))
        .order_by("-attempt_time")
        .values_list("attempt_time", flat=True)
        .first()
    )
    ends = (last or datetime.now(UTC)) + settings.AXES_COOLOFF_TIME
    return max(1.0, (ends - datetime.now(UTC)).total_seconds())
