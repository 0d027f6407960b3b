"""What requests about consents may hold. Called by the API. No ORM.

An error never repeats a value: an answer that is stored or logged holds no recipient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter

from tracking import address, schema
from tracking.fields import MAX_ITEMS, ChannelName, Word
from tracking.paging import Number, PageQuery
from tracking.schema import MAX_ERRORS, BadQuery, FieldError, Invalid, Strict, checked

Recipient = Annotated[str, Field(min_length=1, max_length=500)]


class Consent(Strict):
    channel: ChannelName
    recipient: Recipient
    purpose: Word
    state: Literal["granted", "withdrawn"]


class ConsentBatch(Strict):
    consents: Annotated[list[Consent], Field(min_length=1, max_length=MAX_ITEMS)]


class OneConsent(Strict):
    """Which one is removed."""

    channel: ChannelName
    recipient: Recipient
    purpose: Word


class ConsentQuery(PageQuery):
    """All of one recipient (`channel` and `recipient`), or all of a project, a page at a time."""

    channel: ChannelName | None = None
    recipient: Recipient | None = None
    purpose: Word | None = None
    cursor: Number | None = None


Named = TypeVar("Named", Consent, OneConsent, ConsentQuery)
_CONSENT = TypeAdapter(Consent)
_BATCH = TypeAdapter(ConsentBatch)


def consent(document: Any, region: str) -> Consent:
    """Raises Invalid."""
    return _normal([checked(_CONSENT, document)], region, "")[0]


def batch(document: Any, region: str) -> list[Consent]:
    """Raises Invalid: all of them are taken, or none."""
    return _normal(checked(_BATCH, document).consents, region, "/consents/{}")


def one(given: Mapping[str, str], region: str) -> OneConsent:
    """Raises BadQuery, Invalid."""
    return _normal([schema.query(OneConsent, given)], region, "")[0]


def query(given: Mapping[str, str], region: str) -> ConsentQuery:
    """Raises BadQuery, Invalid."""
    asked = schema.query(ConsentQuery, given)
    if (asked.channel is None) != (asked.recipient is None):
        missing = "channel" if asked.channel is None else "recipient"
        raise BadQuery({missing: "channel and recipient are named together, or neither"})
    if asked.recipient is not None:
        _normal([asked], region, "")
    return asked


def _normal(wanted: list[Named], region: str, place: str) -> list[Named]:
    """Their recipients in the one form that is stored."""
    errors = []
    for index, each in enumerate(wanted):
        try:
            each.recipient = address.normal(each.channel or "", each.recipient or "", region)
        except address.Bad as bad:
            errors.append(FieldError(f"{place.format(index)}/recipient", str(bad)))
    if errors:
        raise Invalid(errors[:MAX_ERRORS])
    return wanted
