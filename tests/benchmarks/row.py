"""What one line of the table is: two ways to do the same work, measured in turn."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.benchmarks.stage import Stage


class Row:
    """`ours` and `floor` do `size` things each and return how many a second. Made anew for each run of the bench."""

    family: ClassVar[str]
    name: ClassVar[str]
    counts: ClassVar[str]  # what is counted
    aim: ClassVar[float | None] = None  # of the ratio
    full: ClassVar[int]  # size at scale 1
    least: ClassVar[int] = 100

    def __init__(self, stage: Stage, scale: float) -> None:
        self.stage = stage
        self.size = max(self.least, int(self.full * scale))
        self.resources = ExitStack()
        self.note = ""

    def prepare(self) -> None:
        """What both sides need. Whatever is entered into `resources` ends with the row."""

    def ours(self) -> float:
        raise NotImplementedError

    def floor(self) -> float:
        raise NotImplementedError


@dataclass
class Measured:
    family: str
    row: str
    counts: str
    aim: float | None
    size: int
    note: str = ""
    runs: list[tuple[float, float]] = field(default_factory=list)  # (ours, floor) a second

    @property
    def ours(self) -> float:
        return statistics.median(ours for ours, _ in self.runs)

    @property
    def floor(self) -> float:
        return statistics.median(floor for _, floor in self.runs)

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios: what disturbs the machine for a while disturbs both sides of a pair."""
        return statistics.median(ours / floor for ours, floor in self.runs)

    @property
    def missed(self) -> bool:
        return self.aim is not None and self.ratio < self.aim

    def as_dict(self) -> dict[str, Any]:
        figures = {"ours": self.ours, "floor": self.floor, "ratio": self.ratio}
        named = {"family": self.family, "row": self.row, "counts": self.counts, "size": self.size}
        return {**named, **figures, "aim": self.aim} | {
            "missed": self.missed,
            "note": self.note,
            "runs": self.runs,
        }
