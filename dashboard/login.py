"""What somebody sees whose login is locked after too many failures. Called by django-axes (settings)."""

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


def locked(
    request: HttpRequest, original: HttpResponse | None = None, credentials: Mapping[str, Any] | None = None
) -> HttpResponse:
    """429, and for how many minutes. Says the same whether there is such a user or not."""
    seconds = _seconds_left(request, str((credentials or {}).get("username", "")))
    context = {**admin.site.each_context(request), "title": "Login locked", "minutes": ceil(seconds / 60)}
    response = render(request, "admin/locked.html", context, status=429)
    response.headers["Retry-After"] = str(ceil(seconds))
    return response


def _seconds_left(request: HttpRequest, username: str) -> float:
    """Until the last failure that counted is old enough."""
    last = (
        AccessAttempt.objects.filter(username=username, ip_address=client.address(request))
        .order_by("-attempt_time")
        .values_list("attempt_time", flat=True)
        .first()
    )
    ends = (last or datetime.now(UTC)) + settings.AXES_COOLOFF_TIME
    return max(1.0, (ends - datetime.now(UTC)).total_seconds())
