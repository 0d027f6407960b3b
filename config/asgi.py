"""The ASGI application of the stream process; everything else is config.wsgi's. Served by granian (config/launcher.py)
or any other server."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from tracking.api.stream.app import Application  # noqa: E402 - Django must be set up first

application = Application()
