"""Channels and the users of a project's application: made, read, changed, deleted. Called by the API.

What belongs to another project does not exist.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import IntegrityError, transaction

from providers.chat import channels as provider
from providers.models import ProviderAccount
from tracking import channel_schema, cursors, schema
from tracking.models import ChannelSettings, ChatChannel, ChatMember, ChatUser, Grant
from tracking.paging import NOT_A_CURSOR, PageQuery
from tracking.schema import BadQuery
from tracking.services import route
from tracking.services.act import Missing, Refused

ACCOUNT = "postroom-channels"
_DEFAULTS = ChannelSettings()


def settings_of(project_id: int) -> ChannelSettings:
    return ChannelSettings.objects.filter(pk=project_id).first() or _DEFAULTS


# --- channels


def find(project_id: int, key: str, *, lock: bool = False) -> ChatChannel:
    """Raises Missing."""
    found = ChatChannel.objects.filter(project_id=project_id, key=key[:101], deleted_at=None)
    channel = (found.select_for_update(no_key=True) if lock else found).first() if "\x00" not in key else None
    if channel is None:
        raise Missing
    return channel


def create(*, project_id: int, document: Any) -> ChatChannel:
    """Raises Invalid, Refused."""
    wanted = channel_schema.new_channel(document)
    try:
        with transaction.atomic():
            channel = ChatChannel.objects.create(
                project_id=project_id, key=wanted.id, name=wanted.name, kind=wanted.type
            )
            grant(project_id)
    except IntegrityError:
        raise Refused("there is a channel of this id already") from None
    return channel


def grant(project_id: int) -> int:
    """The account that messages to channels are counted under, which the project may use. It is disabled, so that
    nothing is ever routed to it."""
    account, _ = ProviderAccount.objects.get_or_create(
        code=ACCOUNT, defaults={"kind": provider.KIND, "channel": "chat", "enabled": False, "name": "Channels"}
    )
    _, new = Grant.objects.get_or_create(project_id=project_id, account=account)
    if new:
        transaction.on_commit(route.forget)
    return account.pk


def change(*, project_id: int, key: str, document: Any) -> ChatChannel:
    """Raises Missing, Invalid."""
    given = channel_schema.channel_changes(document)
    with transaction.atomic():
        channel = find(project_id, key, lock=True)
        for name, value in given.items():
            setattr(channel, name, value)
        channel.save(update_fields=[*given, "updated_at"])
    return channel


def delete(*, project_id: int, key: str) -> None:
    """Its messages stay, with their receipts as they are. Raises Missing."""
    with transaction.atomic():
        channel = find(project_id, key, lock=True)
        channel.deleted_at = datetime.now(UTC)
        channel.save(update_fields=["deleted_at", "updated_at"])


def page(project_id: int, query: dict[str, str]) -> dict[str, Any]:
    """Newest first. Raises BadQuery."""
    asked = schema.query(PageQuery, query)
    limit, before = asked.limit, place_of(asked.cursor, 1)
    found = ChatChannel.objects.filter(project_id=project_id, deleted_at=None)
    if before:
        found = found.filter(pk__lt=before[0])
    rows = list(found.order_by("-pk")[: limit + 1])
    more = cursors.encode([rows[limit - 1].pk]) if len(rows) > limit else None
    return {"channels": [shape(channel) for channel in rows[:limit]], "next_cursor": more}


def shape(channel: ChatChannel) -> dict[str, Any]:
    return {
        "id": channel.key,
        "name": channel.name,
        "type": channel.kind,
        "last_segment": channel.last_segment,
        "created_at": channel.created_at,
        "updated_at": channel.updated_at,
    }


# --- users


def user(project_id: int, user_id: str) -> ChatUser:
    """Raises Missing."""
    found = ChatUser.objects.filter(project_id=project_id, user_id=user_id).first() if "\x00" not in user_id else None
    if found is None:
        raise Missing
    return found


def change_user(*, project_id: int, user_id: str, document: Any) -> ChatUser:
    """Whether their receipts are hidden counts for all of their channels at once. Raises Missing, Invalid."""
    given = channel_schema.user_changes(document)
    with transaction.atomic():
        found = user(project_id, user_id)
        for name, value in given.items():
            setattr(found, name, value)
        found.save(update_fields=[*given, "updated_at"])
        if "receipts_hidden" in given:
            ChatMember.objects.filter(user=found).update(hidden=found.receipts_hidden)
    return found


def user_shape(found: ChatUser) -> dict[str, Any]:
    return {
        "user_id": found.user_id,
        "display_name": found.display_name,
        "receipts_hidden": found.receipts_hidden,
        "created_at": found.created_at,
    }


# --- lists


def place_of(cursor: str | None, numbers: int) -> tuple[int, ...] | None:
    """Where a page begins: the numbers in its cursor. Raises BadQuery."""
    try:
        return None if cursor is None else cursors.decode(cursor, numbers)
    except cursors.NotACursor:
        raise BadQuery({"cursor": NOT_A_CURSOR}) from None
