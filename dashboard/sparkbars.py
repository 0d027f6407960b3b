"""Small charts as SVG without scripts or styles: what became of messages over time. Pure; for the account's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tracking.figures import Figures

WIDTH, HEIGHT = 600.0, 120.0
STACK = ("delivered", "in_flight", "unknown", "bounced", "failed")  # from the bottom
TONES = {"in_flight": "sent"}  # where a counter's colour has another name


@dataclass(frozen=True, slots=True)
class Bar:
    tone: str
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class Column:
    """One step of time: its bars, and in words what they say."""

    begin: datetime
    x: str
    width: str
    bars: tuple[Bar, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    columns: tuple[Column, ...]
    highest: int
    width: float = WIDTH
    height: float = HEIGHT


def chart(series: Sequence[tuple[datetime, Figures]]) -> Chart:
    highest = max((figures.sent for _, figures in series), default=0)
    step = WIDTH / max(1, len(series))
    columns = (_column(begin, figures, place * step, step, highest) for place, (begin, figures) in enumerate(series))
    return Chart(tuple(columns), highest)


def _column(begin: datetime, figures: Figures, x: float, step: float, highest: int) -> Column:
    bars, top, words = [], HEIGHT, []
    for name in STACK:
        count = getattr(figures, name)
        if count:
            height = count * HEIGHT / highest
            top -= height
            tone = TONES.get(name, name)
            bars.append(Bar(tone, f"{x + step * 0.1:.2f}", f"{top:.2f}", f"{step * 0.8:.2f}", f"{height:.2f}"))
            words.append(f"{count:,} {name.replace('_', ' ')}")
    return Column(begin, f"{x:.2f}", f"{step:.2f}", tuple(bars), ", ".join(words) or "nothing sent")
