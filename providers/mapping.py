"""What operators said of words and codes that an adapter does not know, put over what the adapter made of them. Pure.

Called by tracking wherever an adapter's answer comes in (receipts, failed hand-overs) and when history is read again.
The table in `data/error_classes.csv` comes first: a rule only speaks where the adapter said `known=False`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from providers.base import BounceClass, Classification, FailureClass, ProviderError, Receipt, ReceiptKind

# What an operator may say. A guess that the outcome is not known, or that nothing was written, would be no knowledge.
OUTCOMES = (
    ReceiptKind.BOUNCED,
    ReceiptKind.FAILED,
    ReceiptKind.DEFERRED,
    ReceiptKind.ACCEPTED,
    ReceiptKind.DELIVERED,
    ReceiptKind.OTHER,
)
FAILURES = (
    FailureClass.TEMPORARY,
    FailureClass.RATE_LIMIT,
    FailureClass.PERMANENT,
    FailureClass.INVALID_RECIPIENT,
    FailureClass.BLOCKED,
)


class Reading(NamedTuple):
    """How something that a vendor said is understood."""

    kind: str  # a ReceiptKind; of an event also another FactKind
    failure: str | None = None
    bounce: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One stored mapping. An empty word, code or phrase stands for any."""

    id: int
    word: str
    code: str
    phrase: str
    outcome: ReceiptKind | None
    meaning: Classification

    def matches(self, word: str, code: str, text: str) -> bool:
        return (
            self.word in ("", word)
            and self.code in ("", code)
            and (not self.phrase or _plain(self.phrase) in _plain(text))
        )

    def of_receipt(self, told: Reading) -> Reading:
        kind = self.outcome or told.kind
        if kind == ReceiptKind.BOUNCED:
            return Reading(kind, self.meaning.failure, self.meaning.bounce)
        return Reading(kind, self.meaning.failure if kind == ReceiptKind.FAILED else None)

    def of_hand_over(self, told: Reading) -> Reading:
        """A call that failed has failed: only why is the operator's to say."""
        return Reading(told.kind, self.meaning.failure)


def find(rules: Iterable[Rule], *, word: str = "", code: str = "", text: str = "") -> Rule | None:
    """The first that matches. `rules` are in order."""
    return next((rule for rule in rules if rule.matches(word, code, text)), None)


def in_order(rules: Iterable[Rule]) -> Sequence[Rule]:
    """The most particular first: a phrase, then a code, then a word; of equals the newest."""
    return tuple(sorted(rules, key=lambda rule: (not rule.phrase, not rule.code, not rule.word, -rule.id)))


def reread(receipt: Receipt, rule: Rule) -> Receipt:
    """The receipt as the operator understands it."""
    found = rule.of_receipt(Reading(receipt.kind, receipt.failure, receipt.bounce))
    return replace(
        receipt,
        kind=ReceiptKind(found.kind),
        failure=FailureClass(found.failure) if found.failure else None,
        bounce=BounceClass(found.bounce) if found.bounce else None,
        suppress=rule.meaning.suppress,
        known=True,
    )


def reclassified(error: ProviderError, rule: Rule) -> ProviderError:
    return ProviderError(
        error.text,
        classification=rule.meaning,
        code=error.code,
        retry_after=error.retry_after,
        reference=error.reference,
    )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
