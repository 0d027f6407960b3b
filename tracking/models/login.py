"""Usernames and passwords of a project, for clients that know no API keys (SMSBat's interface)."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models

from tracking.models.project import Project, all_scopes


class Login(models.Model):
    """The password is made here and shown once; what stands here is its hash. It is as long as a key, so that a fast
    hash is safe, and is needed: it is checked at every call."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="logins")
    username = models.CharField(
        max_length=50,
        unique=True,
        validators=[RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", "Letters, digits, dots, dashes and underscores.")],
    )
    hashed = models.BinaryField(max_length=32, editable=False)
    scopes = ArrayField(models.CharField(max_length=20), default=all_scopes)
    revoked = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "login"

    def __str__(self) -> str:
        return self.username
