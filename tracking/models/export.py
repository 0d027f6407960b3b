"""Exports: messages written to a file. A row each, so that it can be followed and goes on after a crash."""

from __future__ import annotations

import enum
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from tracking import ids
from tracking.models.outbound import Endpoint
from tracking.models.project import Project


class ExportFormat(enum.StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


class ExportState(enum.StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"  # its file is removed


WORKING = (ExportState.PENDING, ExportState.PROCESSING)


class Export(models.Model):
    """`filters` are tracking.selection.Filters. What is written so far: `bytes` of the part file, which end with the
    message `place`; what the file holds beyond is cut off. `directory`: one of the operator's, else EXPORT_DIR."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, null=True, related_name="exports", help_text="Empty: of all projects."
    )
    by = models.CharField(max_length=150, help_text="Who asked for it.")
    format = models.CharField(max_length=5, choices=[(each.value, each.value) for each in ExportFormat])
    gzip = models.BooleanField(default=False)
    columns = ArrayField(models.CharField(max_length=30))
    filters = models.JSONField(default=dict)
    query = models.CharField(max_length=8_000, blank=True, default="", help_text="The scope, as the console says it.")
    directory = models.CharField(max_length=500, blank=True, default="")
    expires = models.BooleanField(default=True)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.SET_NULL, null=True, related_name="+")

    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in ExportState], default="pending")
    fault = models.CharField(max_length=300, blank=True, default="", help_text="Why it failed.")
    faults = models.PositiveSmallIntegerField(default=0, help_text="Failures in a row.")
    place = models.UUIDField(null=True, help_text="It has come as far as this message.")
    whole = models.BooleanField(default=False, help_text="All rows are in the part file.")
    rows = models.BigIntegerField(default=0)
    estimate = models.BigIntegerField(null=True, help_text="PostgreSQL's guess of how many rows there will be.")
    bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True, default="")
    downloads = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    worked_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True, help_text="After a failure: when it is tried again.")
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        permissions = [("download_export", "Can download exports")]
        indexes = [
            models.Index(fields=["project", "id"], name="export_project"),
            models.Index(fields=["worked_at"], condition=Q(state__in=["pending", "processing"]), name="export_working"),
            models.Index(fields=["expires_at"], condition=Q(state__in=["completed", "failed"]), name="export_expiring"),
        ]

    def __str__(self) -> str:
        return f"export {self.pk}"

    @property
    def finished(self) -> bool:
        return self.state not in WORKING

    @property
    def available(self) -> bool:
        """Its file is there, and may be fetched."""
        return self.state == ExportState.COMPLETED and not self.directory

    def over(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now
