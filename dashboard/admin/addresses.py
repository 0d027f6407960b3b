"""Lists of recipients that are kept by their keyed hash. Base of the admins of suppressions and consents."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import filters
from dashboard.admin.readonly import ReadOnlyAdmin
from providers.models import CHANNELS
from tracking.models import Project
from tracking.search import recipients
from tracking.services.suppress import address_hash


class AddressAdmin(ReadOnlyAdmin):
    search_fields = ("address_hash",)
    search_help_text = "An address, in full: the list is searched by its hash."

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}  # each is changed for a reason of its own

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return _by_address(queryset, search_term), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["project"]
        for row in rows:
            row.code = known.get(row.project_id, "")

    @admin.display(description="address")
    def shown_address(self, row: Any) -> SafeString:
        text = row.address or "(erased)"
        return format_html('<bdi class="clip" title="{}">{}</bdi>', text, text)

    @admin.display(description="project")
    def project_code(self, row: Any) -> str:
        code: str = row.code
        return code


def _by_address(queryset: QuerySet[Any], search_term: str) -> QuerySet[Any]:
    """Those of this address, whatever its channel and spelling; all of them where nothing is asked for."""
    wanted = search_term.strip()
    if not wanted:
        return queryset
    channels = [channel for channel, _ in CHANNELS]
    hashes = [address_hash(channel, form) for channel in channels for form in recipients(wanted)]
    # the index begins with project and channel: all of them are named, so that it serves
    projects = list(Project.objects.values_list("pk", flat=True))
    return queryset.filter(project_id__in=projects, channel__in=channels, address_hash__in=hashes)
