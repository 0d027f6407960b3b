"""How far each member of a channel got: marks move watermarks forward, and tell the messages that they passed. Called
by the API, native and social.plus'.

A marker is committed together with what it means for the messages, for up to SLICE of them; a member who passes more at
once (the first who opens a channel after long) leaves the rest to `record`, which may be called any number of times.
Cost: what was not known before, never the length of the channel nor its members.

Lock order: members by id, then messages by id (services.record).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from tracking import channel_schema
from tracking.models import ChannelMessage, ChatChannel, ChatMember
from tracking.models.channel import PRESENT
from tracking.schema import FieldError, Invalid
from tracking.services import channel_posts, members
from tracking.services.record import Record, Source
from tracking.statuses import Fact, FactKind

SLICE = 500  # messages that one transaction records facts of
MARKER = Source("api", detail={"by": "a member's marker"})


@dataclass(frozen=True, slots=True)
class Reach:
    """How far somebody says that they got. Reading implies delivery."""

    delivered: int = 0
    read: int = 0

    def further(self, other: Reach) -> Reach:
        return Reach(max(self.delivered, other.delivered), max(self.read, other.read))


@dataclass(slots=True)
class Moved:
    """The members as they are now, and whether `record` is still to be called for them."""

    members: list[ChatMember] = field(default_factory=list)
    more: bool = False


# --- from requests


def mark_message(project_id: int, message_id: UUID, document: Any) -> Moved:
    """One receipt of one message. Raises Missing, Refused, Invalid."""
    wanted = channel_schema.mark(document)
    place = channel_posts.find(project_id, message_id)
    member = members.present(members.named(place.channel, wanted.user_id))
    return mark(place.channel, {member.pk: reach(wanted.status, place.segment)})


def mark_several(channel: ChatChannel, document: Any) -> Moved:
    """Up to 1,000 receipts of any members and messages of one channel: all of them, or none. Raises Invalid."""
    wanted = channel_schema.marks(document)
    segments = _segments(channel, [each.notification_id for each in wanted if each.notification_id])
    names = {each.user_id for each in wanted}
    found = ChatMember.objects.filter(channel=channel, user__user_id__in=names, user__project_id=channel.project_id)
    known = {
        user_id: (pk, membership) for pk, user_id, membership in found.values_list("pk", "user__user_id", "membership")
    }
    reaches: dict[int, Reach] = {}
    wrong = []
    for index, each in enumerate(wanted):
        segment = each.segment or segments.get(each.notification_id or "")
        member_id, membership = known.get(each.user_id, (0, ""))
        if membership not in PRESENT:
            wrong.append(FieldError(f"/receipts/{index}/user_id", "is no member of this channel"))
        if segment is None:
            wrong.append(FieldError(f"/receipts/{index}/notification_id", "is no message of this channel"))
        else:
            reaches[member_id] = reach(each.status, segment).further(reaches.get(member_id, Reach()))
    if wrong:
        raise Invalid(wrong[:100])
    return mark(channel, reaches)


def _segments(channel: ChatChannel, texts: Sequence[str]) -> dict[str, int]:
    keys: dict[str, UUID] = {}
    for text in texts:
        try:
            keys[text] = UUID(text)
        except ValueError:
            continue
    found = dict(
        ChannelMessage.objects.filter(channel=channel, pk__in=set(keys.values())).values_list("message_id", "segment")
    )
    return {text: found[key] for text, key in keys.items() if key in found}


def reach(status: str, segment: int) -> Reach:
    return Reach(segment, segment) if status == "read" else Reach(segment)


# --- the markers

_LOCK = "SELECT id FROM chat_member WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
# never beyond the newest message, and never back
_MOVE = """
UPDATE chat_member m
SET delivered_to_segment = GREATEST(m.delivered_to_segment, LEAST(w.delivered, c.last_segment)),
    read_to_segment = GREATEST(m.read_to_segment, LEAST(w.read, c.last_segment)), updated_at = %s
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS w (id, delivered, read), chat_channel c
WHERE m.id = w.id AND c.id = m.channel_id AND (m.delivered_to_segment < LEAST(w.delivered, c.last_segment)
    OR m.read_to_segment < LEAST(w.read, c.last_segment))
"""


def mark(channel: ChatChannel, reaches: Mapping[int, Reach]) -> Moved:
    """Move the markers of members (by id) forward; nobody's ever goes back."""
    ids = sorted(reaches)
    delivered = [max(reaches[each].delivered, reaches[each].read) for each in ids]
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, [ids])
            cursor.execute(_MOVE, [datetime.now(UTC), ids, delivered, [reaches[each].read for each in ids]])
        more = _record(channel.pk, ids)
    found = ChatMember.objects.select_related("user").filter(pk__in=ids).order_by("pk")
    return Moved(list(found), more)


def record(member_ids: Sequence[int]) -> bool:
    """Go on with what a mark left; whether there is still more."""
    channels = set(ChatMember.objects.filter(pk__in=member_ids).values_list("channel_id", flat=True))
    left = False
    for channel_id in channels:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_LOCK, [sorted(member_ids)])
            left = _record(channel_id, sorted(member_ids)) or left
    return left


# --- what they mean for the messages


@dataclass(frozen=True, slots=True)
class _Kind:
    fact: FactKind
    flag: str
    marker: str
    done: str


_KINDS = (
    _Kind(FactKind.DELIVERED, "delivered", "delivered_to_segment", "delivered_recorded"),
    _Kind(FactKind.READ, "read", "read_to_segment", "read_recorded"),
)
_PASSED = """
WITH w AS MATERIALIZED (
    SELECT id, {done} AS since, {marker} AS until FROM chat_member
    WHERE id = ANY(%s) AND channel_id = %s AND NOT hidden AND {done} < {marker})
SELECT cm.message_id, cm.segment FROM channel_message cm
WHERE cm.channel_id = %s AND NOT cm.{flag}
    AND cm.segment > (SELECT min(since) FROM w) AND cm.segment <= (SELECT max(until) FROM w)
    AND EXISTS (SELECT FROM w WHERE cm.segment > w.since AND cm.segment <= w.until
                AND w.id IS DISTINCT FROM cm.creator_id)
ORDER BY cm.segment LIMIT %s
"""
_DONE = """
UPDATE chat_member SET {done} = GREATEST({done}, LEAST({marker}, %s))
WHERE id = ANY(%s) AND channel_id = %s AND NOT hidden AND {done} < {marker}
"""


def _record(channel_id: int, member_ids: list[int]) -> bool:
    """The first marker of another member, whose receipts are not hidden, is the message's own fact."""
    passed: dict[FactKind, set[UUID]] = {}
    more = False
    with connection.cursor() as cursor:
        for kind in _KINDS:
            names = {"flag": kind.flag, "marker": kind.marker, "done": kind.done}
            cursor.execute(_PASSED.format(**names), [member_ids, channel_id, channel_id, SLICE])
            rows = cursor.fetchall()
            full = len(rows) == SLICE
            more = more or full
            passed[kind.fact] = {message_id for message_id, _ in rows}
            upto = rows[-1][1] if full else channel_schema.MAX_SEGMENT
            cursor.execute(_DONE.format(**names), [upto, member_ids, channel_id])
    messages = set().union(*passed.values())
    if messages:
        _tell(messages, passed)
    return more


def _tell(messages: set[UUID], passed: Mapping[FactKind, set[UUID]]) -> None:
    work = Record(messages)
    for kind in _KINDS:
        for message_id in sorted(passed[kind.fact] & set(work.messages)):
            row = work.messages[message_id]
            attempt = row.attempt(1)
            if attempt is not None:
                work.add_fact(row, attempt, Fact(kind.fact, work.now), key=f"member:{kind.flag}", source=MARKER)
        ChannelMessage.objects.filter(pk__in=passed[kind.fact]).update(**{kind.flag: True})
    work.save()
