"""The queue by account, and the signs of life of those who work on it. Read by the first page, the system page and
/metrics; every count stops at a bound, so that it costs the same however long the queue is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

BOUND = 10_000  # counts stop here and say "more"

_LANES = """
SELECT a.id, a.code, a.name, a.channel, a.enabled, c.open_until, c.reason,
    due.count, due.oldest, later.count, flight.count
FROM providers_provideraccount a
LEFT JOIN providers_circuit c ON c.account_id = a.id
CROSS JOIN LATERAL (
    SELECT count(*), min(due_at) AS oldest FROM (
        SELECT due_at FROM queue WHERE account_id = a.id AND lease_token IS NULL AND due_at <= %(now)s
        ORDER BY due_at LIMIT %(bound)s) q) due
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM queue WHERE account_id = a.id AND lease_token IS NULL AND due_at > %(now)s LIMIT %(bound)s) q) later
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM queue WHERE account_id = a.id AND lease_token IS NOT NULL LIMIT %(bound)s) q) flight
ORDER BY a.code
"""


@dataclass(slots=True)
class Lane:
    """An account's part of the queue."""

    id: int
    code: str
    name: str
    channel: str
    enabled: bool
    open_until: datetime | None
    reason: str | None
    due: int
    oldest: datetime | None
    scheduled: int
    in_flight: int


def read(now: datetime) -> list[Lane]:
    with connection.cursor() as cursor:
        cursor.execute(_LANES, {"now": now, "bound": BOUND + 1})
        return [Lane(*row) for row in cursor.fetchall()]
