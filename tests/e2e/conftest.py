"""What the tests with real processes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings

from tests.benchmarks.database import own


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A database of its own on the server that the tests use."""
    found = settings.DATABASES["default"]
    password = f":{found['PASSWORD']}" if found.get("PASSWORD") else ""
    server = f"postgresql://{found['USER']}{password}@{found['HOST'] or '127.0.0.1'}:{found['PORT'] or 5432}/postgres"
    with own(server) as url:
        yield url
