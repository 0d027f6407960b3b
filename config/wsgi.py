"""The WSGI application, served by granian (config/launcher.py) or any other server."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from config.slow_bodies import Guard

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = Guard(get_wsgi_application(), threads=settings.WEB_THREADS, seconds=settings.BODY_SECONDS)

from tracking import collector  # noqa: E402 - what Django loads is to be there first

collector.relax()
