"""What an operator types into the search box of the messages, as a condition that an index serves. Called by the admin.

A whole id or its beginning, a recipient, an external id or a provider's id; `id:`, `to:` and `ref:` say which is meant.
Without one of them one query asks the indexes which of these the text is, so that nothing is ever scanned.
"""

from __future__ import annotations

import re
from functools import reduce
from operator import or_
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from tracking.models import Message

HELP = "Recipient, id (or its beginning), external id or provider’s id, in full. Also: to:…  id:…  ref:…"

_PREFIX = re.compile(r"[0-9a-f]{8,32}")
_PHONE_FILLING = re.compile(r"[ ().\-/]")
_REFERENCES = 1_000  # attempts with the same provider's id, at most
_NOTHING = Q(pk__in=[])


def narrow(rows: QuerySet[Message], text: str) -> QuerySet[Message]:
    found = condition(text)
    return rows.filter(found) if found is not None else rows


def condition(text: str) -> Q | None:
    """None: nothing was asked for."""
    text = text.strip()
    if not text:
        return None
    if "\x00" in text or len(text) > 500:
        return _NOTHING
    qualifier, colon, rest = text.partition(":")
    if colon and qualifier in ("id", "to", "ref"):
        return _asked(qualifier, rest.strip())
    key = _key_range(text)
    if key is not None and len(text.replace("-", "")) == 32:
        return key
    return _any([*_known(recipients(text), references(text)), *([key] if key is not None else [])])


def _asked(qualifier: str, text: str) -> Q:
    if qualifier == "id":
        return _key_range(text) or _NOTHING
    return _any(_known(recipients(text), []) if qualifier == "to" else _known([], references(text)))


def _any(conditions: list[Q]) -> Q:
    return reduce(or_, conditions) if conditions else _NOTHING


def _key_range(text: str) -> Q | None:
    """An id's beginning is a range of ids."""
    digits = text.lower().replace("-", "")
    if not _PREFIX.fullmatch(digits):
        return None
    if len(digits) == 32:
        return Q(pk=UUID(digits))
    return Q(pk__gte=UUID(digits.ljust(32, "0")), pk__lte=UUID(digits.ljust(32, "f")))


def recipients(text: str) -> list[str]:
    """The forms in which this recipient may be stored."""
    forms = {text}
    local, at, domain = text.rpartition("@")
    if at:
        forms |= {f"{local}@{domain.lower()}", text.lower()}
    elif text.startswith("+"):
        forms.add(_PHONE_FILLING.sub("", text))
    return sorted(forms)


def references(text: str) -> list[str]:
    """The forms of an external or a provider's id: Message-IDs are copied with and without their brackets."""
    return [text, f"<{text}>"] if "@" in text else [text]


def _known(names: list[str], ids: list[str]) -> list[Q]:
    """What the text is, asked of the indexes in one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ARRAY(SELECT n FROM unnest(%s::text[]) n WHERE EXISTS (SELECT FROM message WHERE recipient = n)),"
            " ARRAY(SELECT n FROM unnest(%s::text[]) n"
            "  WHERE n <> '' AND EXISTS (SELECT FROM message WHERE external_id = n AND external_id <> '')),"
            " ARRAY(SELECT message_id FROM attempt WHERE reference = ANY(%s) AND reference <> '' LIMIT %s)",
            [names, ids, ids, _REFERENCES],
        )
        stored, external, messages = cursor.fetchone()
    # one condition each: an equality keeps the order of its index, a list would have to be sorted
    found = [Q(recipient=name) for name in stored]
    found += [Q(external_id=name) & ~Q(external_id="") for name in external]
    return found + ([Q(pk__in=messages)] if messages else [])
