"""The members of a channel as the console lists and counts them. Reads only; every list costs its own length, and every
count ends at a bound."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from tracking.models import ChatChannel, ChatMember


def listed(channel: ChatChannel, memberships: Sequence[str], *, after: int, limit: int) -> list[ChatMember]:
    """In the order in which they came, with their users."""
    rows: list[ChatMember] = []
    for membership in memberships:  # each is a range of the index
        found = ChatMember.objects.select_related("user").filter(channel=channel, membership=membership, pk__gt=after)
        rows += found.order_by("pk")[:limit]
    return sorted(rows, key=lambda row: row.pk)[:limit]


_COUNT = """
SELECT channel_id, membership, (SELECT count(*) FROM (
    SELECT FROM chat_member m WHERE m.channel_id = c.channel_id AND m.membership = k.membership LIMIT %s) counted)
FROM unnest(%s::bigint[]) AS c (channel_id) CROSS JOIN unnest(%s::text[]) AS k (membership)
"""


def counted(channel_ids: Sequence[int], memberships: Sequence[str], *, bound: int) -> dict[tuple[int, str], int]:
    """How many of each channel and membership; a count ends at the bound + 1, however many there are."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [bound + 1, list(channel_ids), list(memberships)])
        return {(channel, membership): count for channel, membership, count in cursor.fetchall()}
