"""Statements that run for every message keep their plans. Used by the store and by the loops' own SQL.

PostgreSQL makes a plan for any value once a prepared statement has run a few times. That halves what a write into
partitioned tables costs; but for a filter it may be a plan that reads a whole table. So nothing is prepared
(prepare_threshold in the settings) but what is written inside of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def prepared() -> Iterator[None]:
    connection.ensure_connection()
    raw = connection.connection
    before, raw.prepare_threshold = raw.prepare_threshold, 0
    try:
        yield
    finally:
        raw.prepare_threshold = before
