"""The web server that the tests of the five documents talk to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction

from tests.seeds.live import Live, serve

_content_types: dict[tuple[str, str], int] = {}


@pytest.fixture(scope="module")
def live(django_db_setup: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Postroom over HTTP, with the test database. For tests that commit: `django_db(transaction=True)`."""
    with serve(tmp_path_factory.mktemp("live") / "server.log") as server:
        yield server


@pytest.fixture(autouse=True)
def content_types_keep_their_ids(transactional_db: None) -> None:
    """They are made anew after each test; a server that outlives it knows those before (for the audit log)."""
    now = {(each.app_label, each.model): each.pk for each in ContentType.objects.all()}
    with transaction.atomic(), connection.cursor() as cursor:
        for name, key in now.items():
            if _content_types.setdefault(name, key) != key:
                cursor.execute("UPDATE django_content_type SET id = %s WHERE id = %s", [_content_types[name], key])
                cursor.execute(
                    "UPDATE auth_permission SET content_type_id = %s WHERE content_type_id = %s",
                    [_content_types[name], key],
                )
    ContentType.objects.clear_cache()
