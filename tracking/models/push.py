"""Devices that can be pushed to, and what the Pushwoosh interface keeps: its settings and the logs asked for."""

from __future__ import annotations

import enum

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from tracking.models.project import Project

PLATFORMS = ("ios", "android", "web", "macos", "windows", "amazon", "huawei", "other")
_APPLICATION = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9.-]*\Z", "Letters, digits, dots and hyphens, such as C90C0-0E786."
)


class Device(models.Model):
    """Where push messages of a project can go. A token is valid until a provider, or somebody, says otherwise."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, db_index=False)
    platform = models.CharField(max_length=10, choices=[(name, name) for name in PLATFORMS])
    token = models.CharField(max_length=500, help_text="What the push service calls the app on this device.")
    hwid = models.CharField(max_length=200, blank=True, default="", help_text="The application's id of the device.")
    user_id = models.CharField(max_length=200, blank=True, default="")
    language = models.CharField(max_length=20, blank=True, default="")
    app_version = models.CharField(max_length=50, blank=True, default="")
    tags = models.JSONField(default=dict)
    valid = models.BooleanField(default=True)
    reason = models.CharField(max_length=30, blank=True, default="", help_text="Why the token is not valid.")
    detail = models.CharField(
        max_length=300, blank=True, default="", help_text="In the provider's or operator's words."
    )
    invalid_at = models.DateTimeField(null=True)
    message_id = models.UUIDField(null=True, help_text="The message whose answer said so.")
    registered_at = models.DateTimeField(help_text="When the application last named this token as the device's own.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        permissions = [("switch_device", "Can declare push tokens valid or invalid")]
        constraints = [
            models.UniqueConstraint(fields=["project", "token"], name="one_device_token"),
            models.UniqueConstraint(fields=["project", "hwid"], condition=~Q(hwid=""), name="one_device_hwid"),
        ]
        indexes = [
            models.Index(fields=["project", "id"], name="device_project"),
            models.Index(fields=["project", "platform", "id"], name="device_platform"),
            models.Index(fields=["project", "user_id", "id"], condition=~Q(user_id=""), name="device_user"),
            models.Index(fields=["project", "id"], condition=Q(valid=False), name="device_invalid"),
            models.Index(fields=["token"], name="device_token"),
            models.Index(fields=["hwid"], condition=~Q(hwid=""), name="device_hwid"),
        ]

    def __str__(self) -> str:
        return f"device {self.pk}"


class PushwooshSettings(models.Model):
    """Whether clients written for Pushwoosh may use this project. Without a row they may not."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="pushwoosh")
    enabled = models.BooleanField(default=False, help_text="Answer to /json/1.3/…, as Pushwoosh does.")
    application = models.CharField(
        max_length=50,
        unique=True,
        validators=[_APPLICATION],
        help_text="The application code that clients name, such as C90C0-0E786.",
    )
    registered_only = models.BooleanField(
        default=False, help_text="Treat what is in no registered device as unknown, instead of as a push token."
    )
    open_registration = models.BooleanField(
        default=False,
        help_text="Let devices register with the application code alone, as Pushwoosh's own do. Whoever knows the code "
        "can then add and remove devices.",
    )

    class Meta:
        verbose_name = "Pushwoosh interface"
        verbose_name_plural = "Pushwoosh interface"

    def __str__(self) -> str:
        return self.application


class LogState(enum.StrEnum):
    WORKING = "working"
    DONE = "done"


class PushLog(models.Model):
    """A tracking log that a client asked for: the events of one day. Its parts go with it when it expires."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, db_index=False)
    request_id = models.CharField(max_length=32, unique=True)
    file_token = models.CharField(max_length=43, unique=True, help_text="The file's address: whoever has it may read.")
    day = models.DateField(help_text="In UTC.")
    state = models.CharField(max_length=7, choices=[(s.value, s.value) for s in LogState], default="working")
    after = models.UUIDField(help_text="It has come as far as this message.")
    parts = models.PositiveIntegerField(default=0)
    rows = models.PositiveBigIntegerField(default=0)
    worked_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["project", "day"], condition=Q(state="working"), name="push_log_working"),
            models.Index(fields=["expires_at"], name="push_log_expiry"),
        ]

    def __str__(self) -> str:
        return self.request_id


class PushLogPart(models.Model):
    """Some lines of a log, compressed: what one short transaction wrote."""

    pk = models.CompositePrimaryKey("log_id", "number")
    log = models.ForeignKey(PushLog, on_delete=models.CASCADE, db_index=False)
    number = models.PositiveIntegerField()
    lines = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.log_id} {self.number}"
