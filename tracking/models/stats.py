"""Metrics: the deltas that `record` appends, the rollups they are folded into, which are sealed, what checks found.

The rollups' counters are columns too (bigint or integer, NULL for zero: most are, and a NULL is summed twice as fast),
but only in SQL: `tracking/counters.py` names them, `tracking/rollups.py` reads and writes them.
"""

from __future__ import annotations

from django.db import models


class MetricDelta(models.Model):
    """What one transaction changed in one bucket; `counters` says what each counter means."""

    minute = models.DateTimeField()
    project_id = models.BigIntegerField()
    channel = models.CharField(max_length=10)
    account_id = models.BigIntegerField(null=True)
    kind = models.CharField(max_length=10, blank=True, default="")  # "", template or category
    label = models.CharField(max_length=200, blank=True, default="")
    counts = models.JSONField(help_text="counter → change")

    class Meta:
        db_table = "metric_delta"

    def __str__(self) -> str:
        return f"{self.minute} {self.counts}"


class _Rollup(models.Model):
    pk = models.CompositePrimaryKey("kind", "start", "project_id", "channel", "account_id", "label")
    kind = models.CharField(max_length=10)
    start = models.DateTimeField()
    project_id = models.BigIntegerField()
    channel = models.CharField(max_length=10)
    account_id = models.BigIntegerField(help_text="0: none")
    label = models.CharField(max_length=200)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.start} {self.kind} {self.label}"


class MetricMinute(_Rollup):
    class Meta:
        db_table = "metric_minute"


class MetricQuarter(_Rollup):
    class Meta:
        db_table = "metric_quarter"


class MetricHour(_Rollup):
    class Meta:
        db_table = "metric_hour"


class MetricBlock(_Rollup):
    """Six hours, so that long periods are quick."""

    class Meta:
        db_table = "metric_block"


class MetricSeal(models.Model):
    """The raw rows of messages made in [since, until) are purged, or will be: their buckets stay as they are."""

    since = models.DateTimeField()
    until = models.DateTimeField()
    sealed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "metric_seal"

    def __str__(self) -> str:
        return f"{self.since} to {self.until}"


class MetricKept(models.Model):
    """What sealed messages contribute to buckets that are not sealed: attempts that started after the seal's end."""

    minute = models.DateTimeField()
    project_id = models.BigIntegerField()
    channel = models.CharField(max_length=10)
    account_id = models.BigIntegerField(null=True)
    counts = models.JSONField()

    class Meta:
        db_table = "metric_kept"
        indexes = [models.Index(fields=["minute"], name="metric_kept_minute")]

    def __str__(self) -> str:
        return f"{self.minute} {self.counts}"


class HourCheck(models.Model):
    """What the job `check_hour` found of an hour."""

    hour = models.DateTimeField(primary_key=True)
    checked_at = models.DateTimeField()
    complete = models.BooleanField(help_text="False: there was too much for a job; check_invariants has no such limit.")
    differences = models.PositiveIntegerField()
    first = models.JSONField(default=list)

    class Meta:
        db_table = "hour_check"

    def __str__(self) -> str:
        return f"{self.hour}: {self.differences}"
