"""A line as a small SVG that the server draws: coordinates between 0 and 100, down from 0. Pure; called by the pages of
rules and incidents. The template draws them, CSS colours them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

Points = Sequence[tuple[datetime, float | None]]
TALL = 100.0


@dataclass(frozen=True, slots=True)
class Chart:
    lines: list[str]  # a gap in the values is a gap in the line
    limit: float | None  # where the threshold is
    top: float  # the value at the upper edge; the lower one is 0, or -top where there are negative values
    signed: bool
    begin: datetime
    end: datetime
    span: tuple[float, float] | None = None  # from where to where an incident was open


def draw(
    points: Points, *, threshold: float, opened: datetime | None = None, closed: datetime | None = None
) -> Chart | None:
    """None where there is nothing to be seen."""
    known = [value for _, value in points if value is not None]
    if len(points) < 2 or not known:
        return None
    begin, end = points[0][0], points[-1][0]
    top = max(*(abs(value) for value in known), threshold) * 1.1 or 1.0
    signed = min(known) < 0
    length = (end - begin).total_seconds() or 1.0

    def x(at: datetime) -> float:
        return round(min(100.0, max(0.0, (at - begin).total_seconds() / length * 100)), 2)

    def y(value: float) -> float:
        share = (value + top) / (2 * top) if signed else value / top
        return round(TALL * (1 - share), 2)

    span = (x(opened), round(max(0.5, x(closed or end) - x(opened)), 2)) if opened else None
    lines = [" ".join(f"{x(at)},{y(value)}" for at, value in part) for part in _parts(points)]
    return Chart(lines, y(threshold), top, signed, begin, end, span)


def _parts(points: Points) -> list[list[tuple[datetime, float]]]:
    parts: list[list[tuple[datetime, float]]] = [[]]
    for at, value in points:
        if value is not None:
            parts[-1].append((at, value))
        elif parts[-1]:
            parts.append([])
    return [part if len(part) > 1 else part * 2 for part in parts if part]
