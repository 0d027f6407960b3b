"""Sessions of chat users, for social.plus' clients: opened with an API key, and good for that user alone.

A session is a signed text, kept nowhere: it names the project, the user and the key that it was opened with, and ends
with that key, after DAY, or when its user logs out everywhere. Called by the API.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core import signing
from django.db import transaction

from tracking import channel_schema
from tracking.models import ChatUser
from tracking.services import channels

SALT, INVITED = "postroom.chat-session", "postroom.chat-invitation"
LASTING = timedelta(days=1)
INVITATION = timedelta(minutes=10)


class Closed(Exception):
    """The session, or the token to open one, is not good (any more)."""


@dataclass(frozen=True, slots=True)
class Opened:
    user: ChatUser
    token: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    user: ChatUser
    prefix: str  # of the API key that it was opened with


def invite(project_id: int, user_id: str) -> dict[str, Any]:
    """A token with which this user, and nobody else, can open a session soon. Raises Invalid."""
    name = channel_schema.user_id(user_id)
    return {
        "user_id": name,
        "token": signing.dumps([project_id, name], salt=INVITED),
        "expires_at": datetime.now(UTC) + INVITATION,
    }


def open_session(*, project_id: int, prefix: str, user_id: Any, display_name: Any, invitation: Any) -> Opened:
    """The user is made where there is none. Raises Invalid, Closed."""
    name = channel_schema.user_id(user_id)
    if channels.settings_of(project_id).secure_sessions:
        _check(project_id, name, invitation)
    with transaction.atomic():
        user, new = ChatUser.objects.get_or_create(project_id=project_id, user_id=name)
        if isinstance(display_name, str) and display_name.isprintable() and display_name != user.display_name:
            user.display_name = display_name[:200]
            user.save(update_fields=["display_name", "updated_at"])
    now = datetime.now(UTC)
    token = signing.dumps([project_id, user.pk, prefix, now.timestamp()], salt=SALT)
    return Opened(user, token, now, now + LASTING)


def _check(project_id: int, user_id: str, invitation: Any) -> None:
    try:
        found = signing.loads(str(invitation or ""), salt=INVITED, max_age=INVITATION)
    except signing.BadSignature:
        raise Closed from None
    if found != [project_id, user_id]:
        raise Closed


def of_token(token: str) -> Session:
    """Raises Closed."""
    try:
        project_id, user_pk, prefix, issued = signing.loads(token, salt=SALT, max_age=LASTING)
    except signing.BadSignature:
        raise Closed from None
    user = ChatUser.objects.filter(pk=user_pk, project_id=project_id).first()
    if user is None or (user.sessions_since is not None and user.sessions_since.timestamp() > issued):
        raise Closed
    return Session(user, prefix)


def end_all(user: ChatUser) -> None:
    """Every session of the user ends now."""
    ChatUser.objects.filter(pk=user.pk).update(sessions_since=datetime.now(UTC))
