"""The bare view, which is the floor of every row that goes over HTTP, and all real addresses."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from config.urls import urlpatterns as real


@csrf_exempt
def bare(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO floor.bare (body) VALUES (%s)", [request.body])
    return HttpResponse(b"stored\n", status=202, content_type="text/plain")


urlpatterns = [path("bare", bare), *real]
