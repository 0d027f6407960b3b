"""Who is in a channel. Called by the API.

Nobody is ever taken out of the table: who leaves becomes a non-member, so that old receipts can still be told by
membership.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from tracking import channel_schema, cursors, schema
from tracking.channel_schema import MembersQuery, NewMember
from tracking.models import ChatChannel, ChatMember, ChatUser, Membership
from tracking.models.channel import PRESENT
from tracking.schema import FieldError, Invalid
from tracking.services import channels
from tracking.services.act import Missing, Refused


def add(channel: ChatChannel, document: Any) -> list[ChatMember]:
    """Up to 1,000 at once; whoever is there already gets the membership that is named. Raises Invalid."""
    return put(channel, channel_schema.new_members(document))


def put(channel: ChatChannel, wanted: Sequence[NewMember]) -> list[ChatMember]:
    """In the order of their ids, so that two calls at once never wait for each other."""
    wanted = sorted(wanted, key=lambda each: each.user_id)
    with transaction.atomic():
        users = _users(channel.project_id, wanted)
        rows = [
            ChatMember(channel=channel, user=user, membership=each.membership, hidden=user.receipts_hidden)
            for each in wanted
            for user in (users[each.user_id],)
        ]
        for row in rows:
            row.updated_at = datetime.now(UTC)
        ChatMember.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["channel", "user"],
            update_fields=["membership", "hidden", "updated_at"],
        )
        found = {
            member.user_id: member
            for member in ChatMember.objects.select_related("user").filter(
                channel=channel, user__in=[user.pk for user in users.values()]
            )
        }
    return [found[users[each.user_id].pk] for each in wanted]


def _users(project_id: int, wanted: Sequence[NewMember]) -> dict[str, ChatUser]:
    """Made where there are none. They stay locked: who hides their receipts now waits, and then finds a new member."""
    rows = [ChatUser(project_id=project_id, user_id=each.user_id) for each in wanted]
    ChatUser.objects.bulk_create(rows, ignore_conflicts=True)
    ids = [each.user_id for each in wanted]
    found = ChatUser.objects.filter(project_id=project_id, user_id__in=ids).order_by("pk")
    users = {user.user_id: user for user in found.select_for_update(no_key=True)}
    now = datetime.now(UTC)
    ChatUser.objects.bulk_create(
        [
            ChatUser(project_id=project_id, user_id=each.user_id, display_name=each.display_name, updated_at=now)
            for each in wanted
            if each.display_name is not None
        ],
        update_conflicts=True,
        unique_fields=["project", "user_id"],
        update_fields=["display_name", "updated_at"],
    )
    return users


def find(channel: ChatChannel, user_id: str) -> ChatMember:
    """Raises Missing."""
    members = ChatMember.objects.select_related("user")
    user = channels.user(channel.project_id, user_id)
    member = members.filter(channel=channel, user=user).first()
    if member is None:
        raise Missing
    return member


def named(channel: ChatChannel, user_id: str) -> ChatMember:
    """The member whom a request names in a field of its body. Raises Invalid."""
    try:
        return find(channel, user_id)
    except Missing:
        raise Invalid([FieldError("/user_id", "is no member of this channel")]) from None


def change(channel: ChatChannel, user_id: str, document: Any) -> ChatMember:
    """Put somebody in, or change what they are. Raises Invalid."""
    wanted = channel_schema.member_changes(document)
    name = channel_schema.user_id(user_id)
    new = NewMember(user_id=name, display_name=wanted.display_name, membership=wanted.membership)
    (member,) = put(channel, [new])
    return member


def leave(channel: ChatChannel, user_id: str) -> None:
    """Raises Missing."""
    member = find(channel, user_id)
    ChatMember.objects.filter(pk=member.pk).update(membership=Membership.NON_MEMBER, updated_at=datetime.now(UTC))


def present(member: ChatMember) -> ChatMember:
    """The member, who may read the channel and mark what they read. Raises Refused."""
    if member.membership not in PRESENT:
        raise Refused(f"the user is no member of this channel: {member.membership}")
    return member


def page(channel: ChatChannel, query: dict[str, str]) -> dict[str, Any]:
    """In the order in which they came. Raises BadQuery."""
    asked = schema.query(MembersQuery, query)
    limit, after = asked.limit, channels.place_of(asked.cursor, 1)
    rows: list[ChatMember] = []
    for membership in memberships(asked.memberships):  # each is a range of the index
        found = ChatMember.objects.select_related("user").filter(channel=channel, membership=membership)
        found = found.filter(pk__gt=after[0]) if after else found
        rows += found.order_by("pk")[: limit + 1]
    rows.sort(key=lambda row: row.pk)
    more = cursors.encode([rows[limit - 1].pk]) if len(rows) > limit else None
    return {"members": [shape(row) for row in rows[:limit]], "next_cursor": more}


def memberships(named: Collection[str] | None) -> list[str]:
    """Each once; all of them where nothing is named."""
    return [each for each in Membership.values if named is None or each in named]


def shape(member: ChatMember) -> dict[str, Any]:
    """Without the markers: what a member got is told by receipts, and to those alone who may ask."""
    return {
        "user_id": member.user.user_id,
        "display_name": member.user.display_name,
        "membership": member.membership,
        "joined_at": member.created_at,
    }
