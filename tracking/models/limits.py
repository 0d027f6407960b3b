"""How much each API key has used of its rate limit."""

from __future__ import annotations

from django.db import models


class RateWindow(models.Model):
    """One row a key, unlogged: it is forgotten in a crash, and nobody waits for the disk."""

    key = models.CharField(max_length=60, primary_key=True)
    number = models.BigIntegerField(help_text="which minute since 1970")
    taken = models.BigIntegerField(help_text="requests that processes have taken of it")

    class Meta:
        db_table = "rate_window"

    def __str__(self) -> str:
        return f"{self.key}: {self.taken}"
