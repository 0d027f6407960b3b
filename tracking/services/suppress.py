"""The suppression list: who is not sent to. Checked by submit, filled by record and by operators."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from hmac import digest
from uuid import UUID

from django.conf import settings
from django.db import connection

from tracking.models import Suppression
from tracking.rows import AttemptRow
from tracking.store import Condition


@dataclass(frozen=True, slots=True)
class Entry:
    project_id: int
    channel: str
    address: str
    reason: str
    message_id: UUID | None = None
    made_by: str = ""
    note: str = ""
    attempt: AttemptRow | None = None  # whose answer or receipt led to it


def address_hash(channel: str, address: str) -> bytes:
    """A keyed hash: the list can be searched, yet says nothing to somebody who only has the database."""
    return digest(settings.ADDRESS_KEY.encode(), f"{channel}:{address.casefold()}".encode(), sha256)


def add(entries: Iterable[Entry]) -> None:
    """An entry that stands already is left as it is."""
    rows = [
        Suppression(
            project_id=entry.project_id,
            channel=entry.channel,
            address_hash=address_hash(entry.channel, entry.address),
            address=entry.address,
            reason=entry.reason,
            message_id=entry.message_id,
            made_by=entry.made_by,
            note=entry.note,
        )
        for entry in entries
    ]
    if rows:
        Suppression.objects.bulk_create(rows, ignore_conflicts=True)


def listed(project_id: int, channel: str, address: str) -> Condition:
    """Holds where that recipient is on the project's list: for a statement that asks and writes in one."""
    query = "SELECT FROM tracking_suppression WHERE project_id = %s AND address_hash = %s"
    return Condition(query, (project_id, address_hash(channel, address)))


def suppressed(project_id: int, recipients: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the (channel, address) pairs that are on the project's list."""
    hashes = {pair: address_hash(*pair) for pair in recipients}  # several spellings have the same
    with connection.cursor() as cursor:  # asked for every message: the ORM would take longer than the database
        cursor.execute(
            "SELECT address_hash FROM tracking_suppression WHERE project_id = %s AND address_hash = ANY(%s)",
            [project_id, list(hashes.values())],
        )
        listed = {bytes(value) for (value,) in cursor.fetchall()}
    return {pair for pair, value in hashes.items() if value in listed}
