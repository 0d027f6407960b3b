"""What a project wants to know of its recipients' engagement, what the tracked addresses of its messages lead to, and
the visits that are not recorded yet.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.http.request import validate_host

from tracking import ids
from tracking.models.project import Project


class EngagementSettings(models.Model):
    """Everything is off until somebody turns it on; a project without a row is one with everything off."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="engagement")
    opens = models.BooleanField("open tracking", default=False, help_text="A pixel at the end of HTML e-mails.")
    clicks = models.BooleanField("click tracking", default=False, help_text="Links of HTML e-mails lead through here.")
    unsubscribe = models.BooleanField(
        "one-click unsubscribe", default=False, help_text="List-Unsubscribe headers (RFC 8058), and the page behind."
    )
    short_links = models.BooleanField(default=False, help_text="Links of text messages become short, and are counted.")
    push_callbacks = models.BooleanField(
        default=False, help_text="Push messages carry an address that the app calls when it receives and opens them."
    )
    domain = models.CharField(
        "tracking domain",
        max_length=200,
        blank=True,
        default="",
        help_text="Such as https://links.example.com, which must lead here and stand in ALLOWED_HOSTS. "
        "Empty: PUBLIC_URL.",
    )

    class Meta:
        db_table = "engagement_settings"
        verbose_name = "engagement"
        verbose_name_plural = "engagement"

    def __str__(self) -> str:
        return self.project.code

    @property
    def base(self) -> str:
        """How every tracked address begins."""
        return self.domain or settings.PUBLIC_URL

    def clean(self) -> None:
        self.domain = self.domain.strip().rstrip("/")
        if not self.domain:
            return
        try:
            parts = urlsplit(self.domain)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port, parts = "", None, urlsplit("")
        plain = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        if parts.scheme not in ("http", "https") or not host.isascii() or self.domain.lower() != plain:
            raise ValidationError({"domain": "This is not an address like https://links.example.com."})
        if not validate_host(host, settings.ALLOWED_HOSTS):
            raise ValidationError({"domain": "Requests to this host would be refused: add it to ALLOWED_HOSTS."})
        self.domain = plain


class Tracked(models.Model):
    """One hand-over that carries tracked addresses: where its links lead, and what its recipient can unsubscribe from.
    Kept as long as the message: the addresses of a purged one answer 410."""

    pk = models.CompositePrimaryKey("message_id", "attempt")
    message_id = models.UUIDField()
    attempt = models.PositiveSmallIntegerField()
    purpose = models.CharField(max_length=100, blank=True, default="")
    targets = ArrayField(models.TextField(), default=list, help_text="Of link 0, 1, …: as the message names them.")

    class Meta:
        db_table = "engagement_tracked"

    def __str__(self) -> str:
        return f"{self.message_id}.{self.attempt}"


class ShortLink(models.Model):
    """The code of a short link, and which link of which hand-over it stands for."""

    pk = models.CompositePrimaryKey("message_id", "attempt", "link")
    message_id = models.UUIDField()
    attempt = models.PositiveSmallIntegerField()
    link = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=20)

    class Meta:
        db_table = "engagement_short_link"
        constraints = [models.UniqueConstraint(fields=["code"], name="one_short_link")]

    def __str__(self) -> str:
        return self.code


class Visit(models.Model):
    """An open, a click or an app's callback: here for some seconds, until it is judged and recorded."""

    pk = models.CompositePrimaryKey("message_id", "id")
    message_id = models.UUIDField()
    id = models.UUIDField(default=ids.new)
    attempt = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10)  # statuses.FactKind
    link = models.PositiveSmallIntegerField(null=True)
    at = models.DateTimeField()
    machine = models.CharField(max_length=60, blank=True, default="", help_text="Why the request is a machine's.")
    agent = models.CharField(max_length=200, blank=True, default="")
    url = models.TextField(blank=True, default="", help_text="Where the link led.")

    class Meta:
        db_table = "engagement_visit"
        indexes = [models.Index(fields=["at"], name="engagement_visit_at")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.message_id}"
