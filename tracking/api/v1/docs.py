"""The OpenAPI document and the page that shows it. Open to everybody who reaches the server: they say what the API is,
and nothing of any project."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from tracking.api import json, openapi

# Straight from drf-spectacular's package: as collected static files they would need their source maps too.
_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_DIRECTORY = "static/drf_spectacular_sidecar/swagger-ui-dist"


@csrf_exempt  # a POST hears that it is no method here, and not of forms
@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    return HttpResponse(openapi.document(), content_type=json.MEDIA_TYPE)


@csrf_exempt
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Swagger's page. Its script starts from a file of ours, as the Content-Security-Policy wants it."""
    return render(request, "api/docs.html")


@csrf_exempt
@require_safe
def file(request: HttpRequest, name: str) -> FileResponse:
    found = importlib.util.find_spec("drf_spectacular_sidecar")
    if name not in _FILES or found is None or found.origin is None:
        raise Http404
    path = Path(found.origin).parent / _DIRECTORY / name
    return FileResponse(path.open("rb"), content_type=_FILES[name], headers={"Cache-Control": "max-age=3600"})
