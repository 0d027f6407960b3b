"""Runs of operators' mappings over history: a row each, so that a run can be followed and goes on after a crash."""

from __future__ import annotations

import enum

from django.db import models
from django.db.models import Q


class RemapState(enum.StrEnum):
    RUNNING = "running"
    DONE = "done"


class Remap(models.Model):
    """What adapters of one kind could not classify is read again, newest first, back to `since`."""

    kind = models.CharField(max_length=30)
    days = models.PositiveSmallIntegerField()
    since = models.DateTimeField()
    by = models.CharField(max_length=150, help_text="Who asked for it.")
    why = models.CharField(max_length=500, blank=True, default="")
    state = models.CharField(max_length=7, choices=[(s.value, s.value) for s in RemapState], default="running")
    before_message = models.UUIDField(null=True, help_text="It has come as far as this message …")
    before_key = models.CharField(max_length=80, blank=True, default="", help_text="… and this event of it.")
    events = models.PositiveIntegerField(default=0, help_text="Events looked at.")
    changed = models.PositiveIntegerField(default=0, help_text="Events that are understood otherwise now.")
    statuses = models.JSONField(default=dict, help_text="`before > after` of messages → how many.")
    suppressed = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    worked_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["worked_at"], condition=Q(state="running"), name="remap_running")]

    def __str__(self) -> str:
        return f"{self.kind}, {self.days} days"
