"""How long a project's messages are kept, what purges did, and the certificates of erased recipients."""

from __future__ import annotations

import enum

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from providers.models import CHANNELS
from tracking.models.project import Project

MAX_DAYS = 3650


class Plan(models.TextChoices):
    FREE = "free", "Free: 30 days"
    PRO = "pro", "Pro: 90 days"
    CUSTOM = "custom", "Custom"


class Retention(models.Model):
    """The policy of one project. Without a row: the installation's defaults (`tracking.retention`)."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="retention")
    plan = models.CharField(max_length=6, choices=Plan.choices, default=Plan.PRO)
    days = models.PositiveSmallIntegerField(
        default=90,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_DAYS)],
        help_text="Messages with their attempts and events. Set by the plan, unless that is Custom.",
    )
    content_days = models.PositiveSmallIntegerField(
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_DAYS)],
        help_text="What the messages say. Not longer than the messages themselves.",
    )
    export_first = models.BooleanField(
        default=False, help_text="What is to be purged is exported first; the purge waits for the export."
    )
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "retention policy"
        verbose_name_plural = "retention"
        constraints = [
            models.CheckConstraint(condition=Q(content_days__lte=F("days")), name="retention_content_first"),
        ]

    def __str__(self) -> str:
        return f"retention of {self.project.code}"


class PurgedWeek(models.Model):
    """The rows of one project that were made in a week that other rows keep alive are deleted, or being deleted. Its
    metrics of that week are sealed: neither rebuilt nor compared."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, db_index=False)
    kind = models.CharField(max_length=7, choices=[(kind, kind) for kind in ("message", "content")])
    starts = models.DateTimeField()
    done = models.BooleanField(default=False, help_text="Nothing of the project is left in it.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "kind", "starts"], name="one_purged_week")]

    def __str__(self) -> str:
        return f"{self.kind}s of {self.project_id} from {self.starts:%Y-%m-%d}"


class PurgeRun(models.Model):
    """One purge. Without `finished_at` it is at work, or waits to go on."""

    started_at = models.DateTimeField()
    worked_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    by = models.CharField(max_length=150, help_text="Who asked for it.")
    horizon = models.BigIntegerField(
        default=0, editable=False, help_text="What a transaction from this one on has changed may stand in no export."
    )
    counts = models.JSONField(default=dict, help_text="project → table → rows that were deleted one by one")
    dropped = models.JSONField(default=list, help_text="name, about how many rows, bytes of each partition")
    held = models.JSONField(default=list, help_text="What could not go, and why, in words.")
    error = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering = ["-id"]
        verbose_name = "purge"
        indexes = [models.Index(fields=["worked_at"], condition=Q(finished_at=None), name="purge_running")]

    def __str__(self) -> str:
        return f"purge of {self.started_at:%Y-%m-%d %H:%M}"


class ErasureState(enum.StrEnum):
    RUNNING = "running"
    DONE = "done"


class Erasure(models.Model):
    """That everything about one recipient was erased from a project: the certificate. It names nobody; while the
    work goes on, the recipient stands sealed in it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    channel = models.CharField(max_length=10, choices=CHANNELS)
    address_hash = models.BinaryField(max_length=32, editable=False)
    sealed = models.TextField(editable=False, blank=True, default="")
    by = models.CharField(max_length=150, help_text="Who asked for it.")
    reason = models.CharField(max_length=300, blank=True, default="")
    state = models.CharField(max_length=7, choices=[(s.value, s.value) for s in ErasureState], default="running")
    step = models.PositiveSmallIntegerField(default=0, editable=False)
    place = models.UUIDField(null=True, editable=False, help_text="How far this step has come.")
    waits = models.PositiveIntegerField(default=0, help_text="Messages that were just being sent.")
    counts = models.JSONField(default=dict, help_text="table → rows that were erased or made nameless")
    created_at = models.DateTimeField(auto_now_add=True)
    worked_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["worked_at"], condition=Q(state="running"), name="erasure_running")]

    def __str__(self) -> str:
        return f"erasure {self.pk}"
