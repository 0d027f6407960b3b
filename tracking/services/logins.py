"""Makes usernames and passwords of projects, and knows whom they belong to. Called by the command, the admin and
SMSBat's interface."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from hashlib import sha256

from django.core.exceptions import ValidationError

from tracking.models import Login, Project
from tracking.models.project import all_scopes


def create(*, project: Project, username: str, scopes: Iterable[str] | None = None) -> str:
    """The password: nobody can show it again. Raises ValidationError."""
    wanted = sorted(set(all_scopes() if scopes is None else scopes))
    unknown = [scope for scope in wanted if scope not in all_scopes()]
    if unknown or not wanted:
        raise ValidationError(f"unknown scopes: {', '.join(unknown)}" if unknown else "a login needs a scope")
    password = secrets.token_urlsafe(24)
    login = Login(project=project, username=username, hashed=_hash(username, password), scopes=wanted)
    login.full_clean()
    login.save()
    return password


def check(username: str, password: str) -> Login | None:
    """With its project; None: there is none, it is revoked, or the password is wrong."""
    if "\x00" in username:
        return None
    found = Login.objects.select_related("project").filter(username=username, revoked=False).first()
    hashed = _hash(username, password)
    return found if found is not None and hmac.compare_digest(hashed, bytes(found.hashed)) else None


def _hash(username: str, password: str) -> bytes:
    return sha256(f"{username}:{password}".encode("utf-8", "surrogateescape")).digest()
