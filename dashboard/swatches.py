"""Samples of the series of a chart, for its legend: the colour, and the sign by which a series is known without colours
(a pattern for bars; dashes and a mark for lines). Pure; called by the overview.

They are drawn as paths, because nothing on a page may have a style of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDTH, LINE_WIDTH = 10, 22  # of a bar's sample, and of a line's; both are 10 high

# pattern of bars → strokes
_STROKES = {
    "": "",
    "/": "M0 5L5 0M0 10L10 0M5 10L10 5",
    "\\": "M5 0L10 5M0 0L10 10M0 5L5 10",
    "x": "M0 5L5 0M0 10L10 0M5 10L10 5M5 0L10 5M0 0L10 10M0 5L5 10",
    "-": "M0 2.5H10M0 7.5H10",
    "|": "M2.5 0V10M7.5 0V10",
    "+": "M0 2.5H10M0 7.5H10M2.5 0V10M7.5 0V10",
    ".": "M2.5 2.5h.01M7.5 2.5h.01M2.5 7.5h.01M7.5 7.5h.01",
}
# dashes of lines → (from, length) of each piece
_PIECES = {
    "solid": ((0, 22),),
    "dash": ((0, 5), (17, 5)),
    "dot": ((0, 2), (3, 2), (17, 2), (20, 2)),
    "dashdot": ((0, 4), (5, 1.5), (15.5, 1.5), (18, 4)),
    "longdash": ((0, 7), (15, 7)),
    "longdashdot": ((0, 3.5), (4.5, 1), (13.5, 4), (18.5, 1)),
}
# marks of lines → outlines around (11, 5), clockwise as the pieces are: where they meet both are filled
_MARKS = {
    "circle": "M11 1.5a3.5 3.5 0 1 1-.01 0z",
    "square": "M8 2h6v6h-6z",
    "diamond": "M11 .5l4.5 4.5-4.5 4.5-4.5-4.5z",
    "triangle-up": "M11 1l4 7.5h-8z",
    "triangle-down": "M7 1.5h8l-4 7.5z",
    "cross": "M9.7 1h2.6v2.7H15v2.6h-2.7V9H9.7V6.3H7V3.7h2.7z",
    "x": "M8.8 1L11 3.2 13.2 1 15 2.8 12.8 5 15 7.2 13.2 9 11 6.8 8.8 9 7 7.2 9.2 5 7 2.8z",
    "pentagon": "M11 .8l4.3 3.2-1.6 5h-5.4l-1.6-5z",
}


@dataclass(frozen=True, slots=True)
class Swatch:
    """`fill`: the class of its colour. With a `mark` it is the sample of a line, else of a bar."""

    fill: str
    pattern: str = ""
    dash: str = "solid"
    mark: str = ""

    @property
    def width(self) -> int:
        return LINE_WIDTH if self.mark else WIDTH

    @property
    def shape(self) -> str:
        """What is filled with the colour."""
        if not self.mark:
            return "M2 0h6a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2h-6a2 2 0 0 1-2-2v-6a2 2 0 0 1 2-2z"
        pieces = "".join(f"M{begin} 4h{length}v2h-{length}z" for begin, length in _PIECES[self.dash])
        return pieces + _MARKS[self.mark]

    @property
    def strokes(self) -> str:
        """What is drawn over it."""
        return "" if self.mark else _STROKES[self.pattern]
