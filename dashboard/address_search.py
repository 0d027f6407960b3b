"""The search of lists that keep recipients by their keyed hash: suppressions, consents. Called by the admin."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from providers.models import CHANNELS
from tracking.models import Project
from tracking.search import recipients
from tracking.services.suppress import address_hash


def by_address(queryset: QuerySet[Any], search_term: str) -> QuerySet[Any]:
    """Those of this address, whatever its channel and spelling; all of them where nothing is asked for."""
    wanted = search_term.strip()
    if not wanted:
        return queryset
    channels = [channel for channel, _ in CHANNELS]
    hashes = [address_hash(channel, form) for channel in channels for form in recipients(wanted)]
    # the index begins with project and channel: all of them are named, so that it serves
    projects = list(Project.objects.values_list("pk", flat=True))
    return queryset.filter(project_id__in=projects, channel__in=channels, address_hash__in=hashes)
