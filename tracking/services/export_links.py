"""Download addresses that need no key: signed, and good for a while. Called by the exports' services and `downloads`.

An address holds the export's id and its end, signed with a key derived from SECRET_KEY: whoever has one can fetch that
file until then, and nothing else can be read out of it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.urls import reverse

from tracking.models import Export


class Link(NamedTuple):
    url: str
    path: str
    until: datetime


class Forged(Exception):
    """Not an address of ours."""


class Over(Exception):
    """It was good, once."""


def _signer() -> Signer:
    return Signer(salt="tracking.exports.download")


def address(export: Export, now: datetime, *, good_for: timedelta | None = None) -> Link:
    """It ends with the file, at the latest."""
    until = now + (good_for or timedelta(hours=settings.EXPORT_LINK_HOURS))
    until = min(until, export.expires_at or until).replace(microsecond=0)
    token = _signer().sign(f"{export.pk.hex}.{int(until.timestamp())}")
    path = reverse("export-download", args=[token])
    return Link(settings.PUBLIC_URL + path, path, until)


def opened(token: str, now: datetime) -> UUID:
    """The export that an address is for. Raises Forged, Over."""
    try:
        key, _, until = _signer().unsign(token).partition(".")
        export_id, end = UUID(key), datetime.fromtimestamp(int(until), UTC)
    except (BadSignature, ValueError):
        raise Forged from None
    if end <= now:
        raise Over
    return export_id
