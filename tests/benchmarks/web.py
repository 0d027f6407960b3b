"""The installation's WSGI application with one address more: the bare view. Served by granian for the bench."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

from tests.benchmarks import instant  # noqa: E402

settings.ROOT_URLCONF = "tests.benchmarks.urls"
instant.register()
application = get_wsgi_application()
