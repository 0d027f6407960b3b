"""The installation's WSGI application with one address more: the bare view. Served by granian for the bench."""

from __future__ import annotations

from django.conf import settings

from config.wsgi import application
from tests.benchmarks import instant

__all__ = ["application"]

settings.ROOT_URLCONF = "tests.benchmarks.urls"
instant.register()
