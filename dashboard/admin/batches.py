"""Batches: messages that were handed in together."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import filters
from dashboard.admin.readonly import ReadOnlyAdmin
from dashboard.templatetags.postroom import moment
from tracking.models import Batch
from tracking.services import lookup


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ("number", "project_code", "size", "created")
    list_filter = (filters.ProjectScanFilter,)
    empty_text = "No batch yet. POST /v1/notifications/batch makes one."

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        known = filters.codes(request)["project"]
        for row in rows:
            row.code = known.get(row.project_id, "")

    @admin.display(description="batch")
    def number(self, batch: Batch) -> SafeString:
        return format_html('<span class="number">{}</span>', batch.pk)

    @admin.display(description="project")
    def project_code(self, batch: Batch) -> str:
        code: str = batch.code  # type: ignore[attr-defined]
        return code

    @admin.display(description="created")
    def created(self, batch: Batch) -> SafeString | str:
        return moment(batch.created_at)

    def page(self, request: HttpRequest, found: Batch) -> dict[str, Any]:
        batch = lookup.batch(found.project_id, found.pk) or {}
        return {
            "title": f"Batch {found.pk}",
            "batch": batch,
            "kept": any(batch.get("statuses", {}).values()),
            "messages_url": f"{reverse('admin:tracking_message_changelist')}?batch={found.pk}",
        }
