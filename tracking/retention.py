"""How long what is kept: the policies of projects, and which weeks are past them. Called by purge, its preview, the
console, and by what tells a purged id from one that never was. Reads only.

Messages are kept in weekly partitions and go by whole weeks: a week goes in the night after its last message is as old
as the policy says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Max

from tracking import ids, partitions
from tracking.models import MetricSeal, Plan, Project, PurgedWeek, Retention

PLAN_DAYS: Mapping[str, int] = {Plan.FREE: 30, Plan.PRO: 90}


@dataclass(frozen=True, slots=True)
class Policy:
    """In days."""

    messages: int
    contents: int
    export_first: bool = False

    def past(self, kind: str, week: datetime, now: datetime) -> bool:
        """Whether everything of that week is older than it says. `kind`: message or content."""
        days = self.messages if kind == "message" else self.contents
        return week + partitions.WEEK <= now - timedelta(days=days)


def default() -> Policy:
    """Of a project without one of its own."""
    days = settings.RETENTION_DAYS
    return Policy(days, min(days, settings.CONTENT_RETENTION_DAYS))


def of(stored: Retention | None) -> Policy:
    return Policy(stored.days, stored.content_days, stored.export_first) if stored else default()


def policies() -> dict[int, Policy]:
    """By project, all of them."""
    own = {each.pk: each for each in Retention.objects.all()}
    return {pk: of(own.get(pk)) for pk in Project.objects.values_list("pk", flat=True)}


def purged_before(project_id: int, now: datetime | None = None) -> UUID:
    """Ids of the project below this one are purged, or will be tonight: by its policy, by one that it had before, or
    with a week that is gone."""
    policy = of(Retention.objects.filter(pk=project_id).first())
    past = partitions.week_start((now or datetime.now(UTC)) - timedelta(days=policy.messages))
    weeks = PurgedWeek.objects.filter(project_id=project_id, kind="message").aggregate(last=Max("starts"))["last"]
    sealed = MetricSeal.objects.aggregate(last=Max("until"))["last"]
    return ids.floor(max([past, *([weeks + partitions.WEEK] if weeks else []), *([sealed] if sealed else [])]))


def was_purged(project_id: int, key: UUID, since: datetime) -> bool:
    """Whether an id that is not there may once have been a message of the project, which began at `since`."""
    return ids.is_key(key) and ids.floor(since) <= key < purged_before(project_id)
