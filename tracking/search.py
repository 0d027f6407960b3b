"""What an operator types into the search box of the messages: words with qualifiers, checked. Called by scopes.

Free text is a whole id or its beginning, a recipient, an external id or a provider's id: one query asks the indexes
which of these it is, so that nothing is ever scanned. The qualifiers say which is meant; any other word with a colon is
free text (`chat:ada` is a recipient). Values with blanks, and texts that begin as a qualifier does, stand in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from uuid import UUID

from django.db import connection
from django.db.models import Q

QUALIFIERS: Mapping[str, str] = {
    "to": "a recipient, in full",
    "id": "an id, or at least its first 8 digits",
    "ref": "an external id or a provider’s id, in full",
    "provider": "an account’s code",
    "error": "a code, a failure class, or words of the provider",
    "tag": "a tag",
}
HELP = "Recipient, id or reference · " + " ".join(f"{name}:" for name in QUALIFIERS)
FREE = ""  # the qualifier of free text

_WORD = re.compile(rf"""(?:({"|".join(QUALIFIERS)}):\s*)?(?:"([^"]*)"(?=\s|$)|(\S*))""", re.IGNORECASE)
_PREFIX = re.compile(r"[0-9a-f]{8,32}")
_PHONE_FILLING = re.compile(r"[ ().\-/]")
_REFERENCES = 1_000  # attempts with the same provider's id, at most
_LONGEST = 300
_NOTHING = Q(pk__in=[])


class BadSearch(ValueError):
    """It cannot be understood; the text says what is possible."""


@dataclass(frozen=True, slots=True)
class Term:
    qualifier: str
    value: str

    @property
    def led(self) -> bool:
        """An index leads to its rows."""
        return self.qualifier in (FREE, "to", "id", "ref")


def parse(text: str) -> list[Term]:
    """Raises BadSearch."""
    terms, free = [], []
    for found in _WORD.finditer(text.strip()):
        qualifier, quoted, bare = found.groups()
        value = bare if quoted is None else quoted
        if not qualifier:
            free += [value] if value else []
            continue
        terms.append(_term(qualifier.lower(), value.strip()))
    return ([Term(FREE, _short(" ".join(free)))] if free else []) + terms


def _term(qualifier: str, value: str) -> Term:
    if not value or (qualifier == "id" and _key_range(value) is None):
        raise BadSearch(f"{qualifier}: takes {QUALIFIERS[qualifier]}.")
    return Term(qualifier, _short(value))


def _short(value: str) -> str:
    if len(value) > _LONGEST:
        raise BadSearch(f"Nothing that can be searched for is longer than {_LONGEST} characters.")
    return value


def condition(term: Term) -> Q:
    """Of every qualifier but `provider`, which the caller knows the accounts for; `error` is asked of the attempts."""
    text = term.value
    match term.qualifier:
        case "id":
            return _key_range(text) or _NOTHING
        case "to":
            return _any(_known(recipients(text), []))
        case "ref":
            return _any(_known([], references(text)))
        case "tag":
            return Q(tags__contains=[text])
        case "error":
            return Q(code__iexact=text) | Q(failure=text) | Q(text__icontains=text)
    key = _key_range(text)
    if key is not None and len(text.replace("-", "")) == 32:
        return key
    return _any([*_known(recipients(text), references(text)), *([key] if key is not None else [])])


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
