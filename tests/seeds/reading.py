"""Says that a document was read whole: which test shows each of its lines. For the test modules beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

NOTHING = "-"  # a line that promises nothing: a title over others, the end of a page


@cache
def tests_here() -> frozenset[str]:
    modules = Path(__file__).parent.glob("test_*.py")
    return frozenset(name for module in modules for name in re.findall(r"^def (test_\w+)", module.read_text(), re.M))


def read_whole(lines: Sequence[str], shown_by: Mapping[str, str]) -> None:
    """`shown_by`: how each line begins, in the document's order, and the names of its tests, or NOTHING."""
    for line, beginning in zip(lines, shown_by, strict=True):
        assert line.startswith(beginning)
    named = {name for names in shown_by.values() for name in names.split() if name != NOTHING}
    assert not named - tests_here()
    assert all(shown_by.values())
