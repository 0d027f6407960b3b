"""What a provider's answer means: vendor code to failure class. Pure; called by the adapters and by re-mapping jobs.

The knowledge is data: `data/error_classes.csv`, one code a row. Codes ending in `*` stand for a family. The providers
`smtp`, `text` and `http` are shared by all adapters. Look-up order: the vendor's own code, enhanced status, SMTP reply,
words in the text, HTTP status; an answer that nothing matches is a temporary failure with `known=False`.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from providers.base import RETRYABLE, BounceClass, Classification, FailureClass

UNKNOWN = Classification(known=False)
PROVIDER_RETRIES = "provider"

# Replies and statuses that say little: where the text says more, the text counts.
_VAGUE = frozenset({"4.*.*", "5.*.*", "450", "451", "550", "554", "4*", "5*"})
# HTTP statuses under which the body's words may say more than the status ("access denied" in a 401 must not).
_WORDY_HTTP = frozenset({None, 400, 422})
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_REPLY = re.compile(r"(?:^|[\s;:(])([245]\d\d)(?=[\s\-,;:)]|$)")


@dataclass(frozen=True, slots=True)
class Row:
    provider: str
    code: str
    classification: Classification
    retry: str  # "y", "n", or "provider": the provider itself goes on trying
    note: str

    @property
    def vague(self) -> bool:
        return self.provider == "smtp" and self.code in _VAGUE


def rows() -> Iterator[Row]:
    """Every row of the table, in its order. Raises on a word that is not in the enums."""
    with resources.files("providers").joinpath("data/error_classes.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            yield _row(line)


def classify(
    provider: str, *, code: str = "", enhanced: str = "", reply: str = "", text: str = "", http: int | None = None
) -> Classification:
    """`enhanced` is an RFC 3463 status, `reply` a three-digit SMTP reply; both may be left out."""
    row = find(provider, code=code, enhanced=enhanced, reply=reply, text=text, http=http)
    return row.classification if row else UNKNOWN


def find(
    provider: str, *, code: str = "", enhanced: str = "", reply: str = "", text: str = "", http: int | None = None
) -> Row | None:
    """The row that decides, for those who also want its note or whether the provider goes on trying."""
    row = _lookup(provider, code) or _by_status(enhanced, reply) or _by_reply(reply)
    if row is None and http not in _WORDY_HTTP:
        return _lookup("http", str(http))
    if row is None or row.vague:
        row = _by_text(text, transient=(enhanced or reply).startswith("4")) or row
    return row or _lookup("http", str(http or ""))


def statuses_in(text: str) -> tuple[str, str]:
    """(reply, enhanced status) as they stand in a diagnostic text such as `smtp; 550 5.1.1 user unknown`."""
    reply, status = _REPLY.search(text), _STATUS.search(text)
    return reply.group(1) if reply else "", status.group(1) if status else ""


def _by_status(enhanced: str, reply: str) -> Row | None:
    if not _STATUS.fullmatch(enhanced):
        return None
    major, subject, _ = enhanced.split(".")
    family, whole = f"{major}.{subject}.*", f"{major}.*.*"
    return (
        _lookup("smtp", f"{reply} {family}")
        or _lookup("smtp", enhanced)
        or _lookup("smtp", family)
        or _lookup("smtp", whole)
    )


def _by_reply(reply: str) -> Row | None:
    return (_lookup("smtp", reply) or _lookup("smtp", f"{reply[0]}*")) if reply else None


def _by_text(text: str, *, transient: bool) -> Row | None:
    """A reply of class 4 stays retryable, whatever its words say."""
    words = " ".join(text.lower().split())
    for row, pattern in _phrases():
        if (not transient or row.classification.failure in RETRYABLE) and pattern.search(words):
            return row
    return None


def _lookup(provider: str, code: str) -> Row | None:
    return _table().get((provider, code)) if code else None


@functools.cache
def _table() -> Mapping[tuple[str, str], Row]:
    return {(row.provider, row.code): row for row in rows()}


@functools.cache
def _phrases() -> tuple[tuple[Row, re.Pattern[str]], ...]:
    return tuple((row, re.compile(rf"\b{re.escape(row.code)}")) for row in rows() if row.provider == "text")


def _row(line: Mapping[str, str]) -> Row:
    flags = {"y": True, "n": False}
    if line["retry"] not in {*flags, PROVIDER_RETRIES}:
        raise ValueError(f"{line['provider']} {line['code']}: retry is {line['retry']!r}")
    return Row(
        provider=line["provider"],
        code=line["code"],
        classification=Classification(
            failure=FailureClass(line["class"]),
            bounce=BounceClass(line["bounce"]),
            suppress=flags[line["suppress"]],
            account_fault=flags[line["account_fault"]],
        ),
        retry=line["retry"],
        note=line["note"],
    )
