"""What the installation knows of its own state beside messages: the results of the recount."""

from __future__ import annotations

from django.db import models


class CheckRun(models.Model):
    """One run of the invariant check. Without `finished_at` it still runs, or was ended."""

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    found = models.PositiveIntegerField(default=0, help_text="How many differences there were.")
    differences = models.JSONField(default=list, help_text="The first of them, in words.")
    error = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        verbose_name = "check run"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"check of {self.started_at:%Y-%m-%d %H:%M}"
