"""The web server that the tests of the five documents talk to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.seeds.live import Live, serve


@pytest.fixture(scope="module")
def live(django_db_setup: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Postroom over HTTP, with the test database. For tests that commit: `django_db(transaction=True)`."""
    with serve(tmp_path_factory.mktemp("live") / "server.log") as server:
        yield server
