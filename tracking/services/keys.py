"""Makes API keys. Called by the command and the admin."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import sha256

from django.core.exceptions import ValidationError

from tracking.models import ApiKey, Project
from tracking.models.project import all_scopes

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # a prefix is read aloud: none that look alike


def create(*, project: Project, name: str, scopes: Iterable[str] | None = None, rate_limit: int | None = None) -> str:
    """The key itself, `pr_<prefix>_<secret>`: nobody can show it again. Raises ValidationError."""
    wanted = sorted(set(all_scopes() if scopes is None else scopes))
    unknown = [scope for scope in wanted if scope not in all_scopes()]
    if unknown or not wanted:
        raise ValidationError(f"unknown scopes: {', '.join(unknown)}" if unknown else "a key needs a scope")
    prefix = "".join(secrets.choice(_LETTERS) for _ in range(10))
    key = f"pr_{prefix}_{secrets.token_urlsafe(32)}"
    row = ApiKey(
        project=project,
        name=name,
        prefix=prefix,
        hashed=sha256(key.encode()).digest(),
        scopes=wanted,
        rate_limit=rate_limit,
    )
    row.full_clean()
    row.save()
    return key
