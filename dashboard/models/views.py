"""Saved views: a filter of messages with a name. The query is canonical (dashboard.scope), and checked when opened."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class SavedView(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", editable=False)
    name = models.CharField(max_length=60)
    shared = models.BooleanField(default=False, help_text="Everybody who may see messages sees this view.")
    query = models.CharField(max_length=2_000, help_text="What stands behind the ? of the list’s address.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "pk"]
        permissions = [("share_savedview", "Can share saved views")]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_view_of_a_name")]

    def __str__(self) -> str:
        return self.name
