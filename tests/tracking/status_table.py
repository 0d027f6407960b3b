"""The table of docs/statuses.md, made from the code. `python -m tests.tracking.status_table` writes it anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path

from providers.base import BounceClass, FailureClass
from tracking.statuses import Attempt, Decision, Fact, FactKind, Folded, Status, fold, learn

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "statuses.md"
BEGIN, END = "<!-- made from the code: {} -->", "<!-- end -->"
_START = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _at(minutes: int) -> datetime:
    return _START + timedelta(minutes=minutes)


_ACCEPTED = Fact(FactKind.ACCEPTED, _at(1))
_DELIVERED = Fact(FactKind.DELIVERED, _at(2))
_BUSY = Fact(FactKind.FAILED, _at(1), FailureClass.TEMPORARY)
_REFUSED = Fact(FactKind.FAILED, _at(1), FailureClass.PERMANENT)
_HARD = Fact(FactKind.BOUNCED, _at(2), FailureClass.INVALID_RECIPIENT, BounceClass.HARD)
_SOFT = Fact(FactKind.BOUNCED, _at(2), FailureClass.TEMPORARY, BounceClass.SOFT)
_LOST = Fact(FactKind.OUTCOME_UNKNOWN, _at(1), FailureClass.AMBIGUOUS)


@dataclass(frozen=True, slots=True)
class Situation:
    """A status, and one way to come to it: what is known of each attempt, and the last decision."""

    words: str
    told: tuple[tuple[Fact, ...], ...]
    decision: Decision
    decided_after: int = 0

    def attempts(self, *more: Fact) -> list[Attempt]:
        told = [*self.told[:-1], (*self.told[-1], *more)] if self.told else []
        return [reduce(learn, facts, Attempt(number)) for number, facts in enumerate(told, 1)]

    def after(self, *more: Fact) -> Folded:
        return fold(self.attempts(*more), self.decision, self.decided_after)

    def decided(self, decision: Decision) -> Folded:
        return fold(self.attempts(), decision, len(self.told))

    @property
    def status(self) -> Status:
        return self.after().status


SITUATIONS = (
    Situation("its first send waits", (), Decision.QUEUE),
    Situation("a retry waits", ((_BUSY,),), Decision.RETRY, 1),
    Situation("handed over", ((),), Decision.QUEUE),
    Situation("the provider took it", ((_ACCEPTED,),), Decision.QUEUE),
    Situation("", ((_ACCEPTED, _DELIVERED),), Decision.QUEUE),
    Situation("", ((_ACCEPTED, _DELIVERED, Fact(FactKind.READ, _at(3))),), Decision.QUEUE),
    Situation("refused", ((_REFUSED,),), Decision.QUEUE),
    Situation("given up", ((_BUSY,),), Decision.GIVE_UP, 1),
    Situation("suppressed, no attempt", (), Decision.SUPPRESS),
    Situation("hard", ((_ACCEPTED, _HARD),), Decision.QUEUE),
    Situation("soft", ((_ACCEPTED, _SOFT),), Decision.QUEUE),
    Situation("no attempt", (), Decision.CANCEL),
    Situation("while a retry waited", ((_BUSY,),), Decision.CANCEL, 1),
    Situation("nobody knows", ((_LOST,),), Decision.QUEUE),
)
FACTS = (
    ("accepted", Fact(FactKind.ACCEPTED, _at(5))),
    ("deferred", Fact(FactKind.DEFERRED, _at(5))),
    ("delivered", Fact(FactKind.DELIVERED, _at(5))),
    ("bounced, hard", Fact(FactKind.BOUNCED, _at(5), FailureClass.INVALID_RECIPIENT, BounceClass.HARD)),
    ("bounced, other", Fact(FactKind.BOUNCED, _at(5), FailureClass.BLOCKED, BounceClass.BLOCK)),
    ("failed", Fact(FactKind.FAILED, _at(5), FailureClass.BLOCKED)),
    ("opened", Fact(FactKind.OPENED, _at(5))),
    ("clicked", Fact(FactKind.CLICKED, _at(5))),
    ("read", Fact(FactKind.READ, _at(5))),
    ("opened, clicked by a machine", Fact(FactKind.OPENED, _at(5), machine=True)),
    ("complained", Fact(FactKind.COMPLAINED, _at(5))),
    ("unsubscribed", Fact(FactKind.UNSUBSCRIBED, _at(5))),
    ("other", Fact(FactKind.OTHER, _at(5))),
    ("outcome unknown", Fact(FactKind.OUTCOME_UNKNOWN, _at(5), FailureClass.AMBIGUOUS)),
)
DECISIONS = tuple(Decision)


def _said(folded: Folded) -> str:
    return f"{folded.status} ({folded.reason})" if folded.reason else str(folded.status)


def _name(situation: Situation) -> str:
    return f"**{situation.status}**: {situation.words}" if situation.words else f"**{situation.status}**"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([_row(head), _row("---" for _ in head), *map(_row, rows)])


def facts_table() -> str:
    """Situations down, facts across; a dot where nothing changes."""

    def cell(situation: Situation, fact: Fact) -> str:
        if not situation.told:
            return ""
        before, after = situation.after(), situation.after(fact)
        return "·" if (before.status, before.reason) == (after.status, after.reason) else _said(after)

    head = ["status", *(words for words, _ in FACTS)]
    return _table(head, ([_name(s), *(cell(s, fact) for _, fact in FACTS)] for s in SITUATIONS))


def decisions_table() -> str:
    """What each decision would make of each situation; which of them are allowed is said beside the table."""

    def cell(situation: Situation, decision: Decision) -> str:
        before, after = situation.after(), situation.decided(decision)
        return "·" if (before.status, before.reason) == (after.status, after.reason) else _said(after)

    head = ["status", *(str(decision) for decision in DECISIONS)]
    return _table(head, ([_name(s), *(cell(s, decision) for decision in DECISIONS)] for s in SITUATIONS))


def blocks() -> list[str]:
    return [
        f"{BEGIN.format(name)}\n\n{table}\n\n{END}"
        for name, table in (("facts", facts_table()), ("decisions", decisions_table()))
    ]


def write() -> None:
    text = DOCUMENT.read_text()
    for block in blocks():
        begin = block.partition("\n")[0]
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(END)
        text = before + block + after
    DOCUMENT.write_text(text)


if __name__ == "__main__":
    write()
