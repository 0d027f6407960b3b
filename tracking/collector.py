"""Makes Python's garbage collector look less often. Called by each resident loop and by each web process.

Batches make many objects that live for a moment and no cycles: a third of the time of a receive loop went into looking
through them. What was loaded at the start is never looked at again.
"""

from __future__ import annotations

import gc
from functools import cache

THRESHOLDS = (50_000, 20, 50)  # Python's own: 700, 10, 10


@cache
def relax() -> None:
    """Once a process: what is frozen is never freed if it becomes a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
