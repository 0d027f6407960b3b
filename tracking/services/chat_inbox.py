"""What a user of an application sees of their channels: how far they are in each, how much is unread, what changed. And
opening and closing a channel on a device, which reads it. Called by the API of social.plus' clients."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db.models import F, Max, Q, Sum
from django.db.models.functions import Greatest

from tracking.models import ChatMember, ChatUser
from tracking.models.channel import PRESENT
from tracking.services import markers
from tracking.services.markers import Moved, Reach

MILLISECOND = timedelta(milliseconds=1)  # clients' clocks know no less
CHANGES = 100  # channels in one answer
LATE = timedelta(seconds=5)  # how long after its time a change may be committed: so long it is told again


class Unread(NamedTuple):
    messages: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Changes:
    members: Sequence[ChatMember]
    until: datetime  # ask again from here


def mine(
    user: ChatUser, keys: Collection[str] | None = None, *, after: int = 0, limit: int = CHANGES
) -> list[ChatMember]:
    """The user in their channels, in the order of the channels' own numbers: in all of these; or in the first after a
    number."""
    found = ChatMember.objects.select_related("channel", "user").filter(
        user=user, membership__in=PRESENT, channel__deleted_at=None
    )
    if keys is None:
        return list(found.filter(channel_id__gt=after).order_by("channel_id")[:limit])
    possible = [key for key in keys if "\x00" not in key]  # no channel has another, and it cannot be asked for
    return list(found.filter(channel__key__in=possible).order_by("channel_id"))


def unread(user: ChatUser) -> Unread:
    found = ChatMember.objects.filter(user=user, membership__in=PRESENT, channel__deleted_at=None).aggregate(
        messages=Sum(F("channel__last_segment") - F("read_to_segment")),
        changed=Max(Greatest("updated_at", "channel__updated_at")),
    )
    return Unread(found["messages"] or 0, found["changed"] or user.created_at)


def changed_since(user: ChatUser, since: datetime) -> Changes:
    """The channels in which anything moved since then, the earliest change first. None is missed, however late it was
    committed; what is younger than LATE comes again."""
    # a client knows a time to the millisecond: what happened within it was answered with it
    edge = since.replace(microsecond=since.microsecond // 1000 * 1000) + MILLISECOND
    found = list(
        ChatMember.objects.select_related("channel", "user")
        .filter(user=user, membership__in=PRESENT)
        .annotate(changed=Greatest("updated_at", "channel__updated_at"))
        .filter(Q(updated_at__gte=edge) | Q(channel__updated_at__gte=edge))
        .order_by("changed", "pk")[:CHANGES]
    )
    sure = min(found[-1].changed, datetime.now(UTC) - LATE) if found else since
    return Changes(found, max(sure, since))


def start_reading(members: Collection[ChatMember]) -> list[Moved]:
    """The user has the channels open: everything in them is read."""
    ChatMember.objects.filter(pk__in=[member.pk for member in members]).update(reading_since=datetime.now(UTC))
    return [read_all(member) for member in members]


def stop_reading(member: ChatMember) -> Moved:
    """What came while the channel was open is read too. A channel that was not open stays as it is."""
    was_open = ChatMember.objects.filter(pk=member.pk, reading_since__isnull=False).update(reading_since=None)
    return read_all(member) if was_open else Moved([member])


def read_all(member: ChatMember) -> Moved:
    """Up to the newest message there is now."""
    member.channel.refresh_from_db(fields=["last_segment"])
    last = member.channel.last_segment
    return markers.mark(member.channel, {member.pk: Reach(last, last)})
