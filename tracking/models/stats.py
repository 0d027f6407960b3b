"""Metric deltas, appended by `record` in the transaction that changes the facts they count."""

from __future__ import annotations

from django.db import models


class MetricDelta(models.Model):
    """What one transaction changed in one bucket; `tracking/metrics.py` says what each counter means."""

    cohort = models.CharField(max_length=7)  # message (by creation) or attempt (by start)
    minute = models.DateTimeField()
    project_id = models.BigIntegerField()
    channel = models.CharField(max_length=10)
    account_id = models.BigIntegerField(null=True)
    failure = models.CharField(max_length=20, blank=True, default="")
    bounce = models.CharField(max_length=15, blank=True, default="")
    counts = models.JSONField(help_text="counter → change")

    class Meta:
        db_table = "metric_delta"

    def __str__(self) -> str:
        return f"{self.cohort} {self.minute}"
