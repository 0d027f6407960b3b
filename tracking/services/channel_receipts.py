"""Who got a message to a channel and who read it. Called by the API and the console. Reads only.

A page costs its own length, wherever it stands: each membership is a range of an index in the order of the markers. The
counts of any number of messages of one channel are one pass over that index: they cost the channel's members, not its
messages (docs/channels.md says how long 100,000 take). The creator of a message is no recipient of it; who hides their
receipts is in no list and no count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connection

from tracking import cursors, schema
from tracking.channel_schema import MembersQuery, ReceiptsQuery
from tracking.models import ChannelMessage, ChatMember, Membership
from tracking.services import channels, members
from tracking.services.act import Missing

MARKERS = {"delivered": "delivered_to_segment", "read": "read_to_segment"}
Place = tuple[int, int]  # a marker and a member: where a page ended


class Hidden(Exception):
    """The project hides the receipts of its channels."""


class Receiver(NamedTuple):
    marker: int
    member_id: int
    user_id: str
    display_name: str
    membership: str


class Page(NamedTuple):
    receivers: list[Receiver]
    next: Place | None


def visible(place: ChannelMessage) -> ChannelMessage:
    """Raises Hidden."""
    if channels.settings_of(place.channel.project_id).receipts_hidden:
        raise Hidden
    return place


_PAGE = """
SELECT m.marker, m.id, u.user_id, u.display_name, m.membership
FROM unnest(%s::text[]) AS k (membership) CROSS JOIN LATERAL (
    SELECT {marker} AS marker, id, user_id, membership FROM chat_member
    WHERE channel_id = %s AND membership = k.membership AND NOT hidden
        AND ({marker}, id) > (%s, %s) AND id <> %s
    ORDER BY {marker}, id LIMIT %s) m
JOIN chat_user u ON u.id = m.user_id
ORDER BY m.marker, m.id LIMIT %s
"""


def page(
    place: ChannelMessage,
    kind: str,
    *,
    memberships: Sequence[str] | None = None,
    after: Place | None = None,
    limit: int,
) -> Page:
    """Those whose marker of this kind reached the message, the slowest first: who moves on while somebody turns pages
    may be seen twice, and is never missed."""
    wanted = list(Membership.values if memberships is None else memberships)
    creator = place.creator_id or 0
    start = max(after or (0, 0), (place.segment, 0))  # one place alone: the index is entered there
    with connection.cursor() as cursor:
        cursor.execute(
            _PAGE.format(marker=MARKERS[kind]),
            [wanted, place.channel_id, *start, creator, limit + 1, limit + 1],
        )
        rows = [Receiver(*row) for row in cursor.fetchall()]
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(rows, (rows[-1].marker, rows[-1].member_id) if more else None)


# --- counts


class Counts(NamedTuple):
    delivered: int
    read: int


_COUNTS = """
SELECT width_bucket({marker}, %s::bigint[]), count(*) FROM chat_member
WHERE channel_id = %s AND membership = ANY(%s) AND NOT hidden AND {marker} >= %s GROUP BY 1
"""


def counts(places: Sequence[ChannelMessage], memberships: Sequence[str] | None = None) -> dict[Any, Counts]:
    """By message id; all of the messages are of one channel."""
    if not places:
        return {}
    wanted = list(Membership.values if memberships is None else memberships)
    found = {kind: _reached(places, kind, wanted) for kind in MARKERS}
    return {place.pk: Counts(found["delivered"][place.segment], found["read"][place.segment]) for place in places}


def _reached(places: Sequence[ChannelMessage], kind: str, wanted: list[str]) -> dict[int, int]:
    """How many members' markers reached each segment, without the message's own creator."""
    segments = sorted({place.segment for place in places})
    marker = MARKERS[kind]
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS.format(marker=marker), [segments, places[0].channel_id, wanted, segments[0]])
        buckets = dict(cursor.fetchall())
    reached, total = {}, 0
    for bucket in range(len(segments), 0, -1):
        total += buckets.get(bucket, 0)
        reached[segments[bucket - 1]] = total
    creators = ChatMember.objects.filter(
        pk__in={place.creator_id for place in places}, hidden=False, membership__in=wanted
    )
    own = dict(creators.values_list("pk", marker))
    for place in places:
        if own.get(place.creator_id or 0, 0) >= place.segment:
            reached[place.segment] -= 1
    return reached


# --- as the native API shows it


def summary(place: ChannelMessage, query: dict[str, str]) -> dict[str, Any]:
    """Raises Hidden, BadQuery."""
    wanted = members.memberships(schema.query(ReceiptsQuery, query).memberships)
    found = counts([visible(place)], wanted)[place.pk]
    return {
        "id": place.pk,
        "channel_id": place.channel.key,
        "segment": place.segment,
        "delivered": found.delivered,
        "read": found.read,
    }


def native_page(place: ChannelMessage, kind: str, query: dict[str, str]) -> dict[str, Any]:
    """Raises Hidden, BadQuery, Missing where there is no such kind of receipt."""
    if kind not in MARKERS:
        raise Missing
    asked = schema.query(MembersQuery, query)
    wanted, after = members.memberships(asked.memberships), channels.place_of(asked.cursor, 2)
    start = (after[0], after[1]) if after else None
    found = page(visible(place), kind, memberships=wanted, after=start, limit=asked.limit)
    return {
        "users": [
            {
                "user_id": each.user_id,
                "display_name": each.display_name,
                "membership": each.membership,
                f"{kind}_to_segment": each.marker,
            }
            for each in found.receivers
        ],
        "next_cursor": cursors.encode(found.next) if found.next else None,
    }


def marker_shape(member: ChatMember) -> dict[str, Any]:
    return {
        "user_id": member.user.user_id,
        "delivered_to_segment": member.delivered_to_segment,
        "read_to_segment": member.read_to_segment,
        "updated_at": member.updated_at,
    }
