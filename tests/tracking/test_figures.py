"""Figures of several cohorts together are those of one."""

from __future__ import annotations

from tracking.figures import Figures, together


def test_counters_classes_and_histograms_are_added():
    one = Figures(sent=10, bounced=2, bounced_by={"hard": 1, "soft": 1}, latency=(0, 1, 2))
    other = Figures(sent=30, failed=3, bounced=1, bounced_by={"hard": 1}, failed_by={"permanent": 3})
    last = Figures(sent=1, latency=(1, 1, 1))
    assert together([one, other, last]) == Figures(
        sent=41,
        bounced=3,
        failed=3,
        bounced_by={"hard": 2, "soft": 1},
        failed_by={"permanent": 3},
        latency=(1, 2, 3),
    )
    assert together([]) == Figures() and together([one]) == one
