"""The WSGI application, served by granian (config/launcher.py) or any other server."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from tracking import collector  # noqa: E402 - what Django loads is to be there first

collector.relax()
