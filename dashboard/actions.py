"""POST-only actions beside an object's page: permission first, then the deed, then back with a word about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path

Deed = Callable[[HttpRequest, Any], HttpResponse | None]


def url(
    model_admin: admin.ModelAdmin[Any], name: str, deed: Deed, *, key: str = "int", permission: str = ""
) -> URLPattern:
    """`…/<key>/<name>/`: by POST and with the permission, by default to change. Without a result, back to the page."""

    def view(request: HttpRequest, pk: Any) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        found = model_admin.get_queryset(request).filter(pk=pk).first()
        if permission:
            allowed = model_admin.has_view_or_change_permission(request, found) and request.user.has_perm(permission)
        else:
            allowed = model_admin.has_change_permission(request, found)
        if not allowed:
            raise PermissionDenied
        if found is None:
            raise Http404
        return deed(request, found) or to_object(model_admin, found)

    return path(f"<{key}:pk>/{name}/", model_admin.admin_site.admin_view(view), name=url_name(model_admin, name))


def url_name(model_admin: admin.ModelAdmin[Any], name: str) -> str:
    return f"{model_admin.opts.app_label}_{model_admin.opts.model_name}_{name}"


def to_object(model_admin: admin.ModelAdmin[Any], found: Any) -> HttpResponse:
    opts = model_admin.opts
    return redirect(f"admin:{opts.app_label}_{opts.model_name}_change", found.pk)
