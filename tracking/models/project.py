"""Projects, their API keys and the provider accounts granted to them."""

from __future__ import annotations

import enum

import phonenumbers
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from pydantic import ValidationError as Invalid

from providers.models import ProviderAccount
from tracking import words
from tracking.policy import RetryOverrides


class Scope(enum.StrEnum):
    SEND = "send"
    READ = "read"
    RECEIPTS = "receipts"
    MANAGE = "manage"


def all_scopes() -> list[str]:
    return [scope.value for scope in Scope]


class Project(models.Model):
    code = models.SlugField(max_length=50, unique=True)
    name = models.CharField(max_length=100, blank=True, default="")
    paused = models.BooleanField(default=False, help_text="While set, nothing of this project is sent; it is queued.")
    paused_reason = models.CharField(max_length=200, blank=True, default="")
    retry = models.JSONField(
        default=dict,
        blank=True,
        help_text="Overrides of the retry policy: max_attempts, initial_delay, max_delay (s), backoff_factor, "
        "retry_conditions.",
    )
    default_region = models.CharField(
        max_length=2, blank=True, default="", help_text="ISO country for phone numbers without +. Empty: + is required."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    accounts = models.ManyToManyField(ProviderAccount, through="Grant", related_name="projects")

    class Meta:
        ordering = ["code"]
        permissions = [("pause_project", "Can pause and resume sending of a project")]

    def __str__(self) -> str:
        return self.code

    def clean(self) -> None:
        self.default_region = self.default_region.upper()
        if self.default_region and self.default_region not in phonenumbers.SUPPORTED_REGIONS:
            raise ValidationError({"default_region": "This is not the ISO code of a country, such as DE."})
        try:
            RetryOverrides.model_validate(self.retry)
        except Invalid as invalid:
            errors = [f"{'.'.join(map(str, error['loc']))}: {words.of(error)}" for error in invalid.errors()]
            raise ValidationError({"retry": errors}) from invalid


class Grant(models.Model):
    """A project may send through the account, and follow messages that were sent through it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    account = models.ForeignKey(ProviderAccount, on_delete=models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "account"], name="one_grant")]

    def __str__(self) -> str:
        return f"{self.project_id} may use {self.account_id}"


class ApiKey(models.Model):
    """A key is shown once, as `pr_<prefix>_<secret>`; what stands here is the prefix and a hash of the whole."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=50)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    hashed = models.BinaryField(max_length=32, editable=False)
    scopes = ArrayField(models.CharField(max_length=20), default=all_scopes)
    revoked = models.BooleanField(default=False)
    rate_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Requests a minute; 0: any number. Empty: as many as RATE_LIMIT says."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"

    def __str__(self) -> str:
        return f"{self.name} (pr_{self.prefix}_…)"
