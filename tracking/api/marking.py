"""A mark of a member as the API makes it: what one request does not finish goes on in a worker. Used by the views."""

from __future__ import annotations

from tracking import jobs
from tracking.services.markers import Moved


def finish(moved: Moved) -> Moved:
    if moved.more:
        for member in moved.members:
            jobs.later("tracking.tasks.record_marks", member.pk)
    return moved
