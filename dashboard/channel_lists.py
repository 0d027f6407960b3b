"""The members and the messages of a chat channel, a page at a time, and how many there are. Reads only; used by the
admin. A page costs its own length: 100,000 members are as quick as ten, and counts stop at a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F
from django.utils.http import urlencode

from tracking import cursors, ids
from tracking.models import ChannelMessage, ChatChannel, Membership, Message
from tracking.models.channel import PRESENT
from tracking.services import channels, member_lists

SHOWN = 50
LISTED_BOUND = 1_000  # members of a channel that a list counts
PAGE_BOUND = 10_000  # those of one membership that its page counts


def sizes(found: Sequence[ChatChannel]) -> dict[int, int]:
    """How many are in each of them, up to the bound."""
    counts = member_lists.counted([each.pk for each in found], PRESENT, bound=LISTED_BOUND)
    return {each.pk: sum(counts[each.pk, membership] for membership in PRESENT) for each in found}


def last_messages(found: Sequence[ChatChannel]) -> dict[int, datetime]:
    """When the newest message of each was handed in, where there is one and it is kept."""
    newest = ChannelMessage.objects.filter(channel__in=[each.pk for each in found], segment=F("channel__last_segment"))
    return {channel: ids.time_of(key) for channel, key in newest.values_list("channel_id", "pk")}


# --- members


def members_head(channel: ChatChannel, query: Mapping[str, str]) -> dict[str, Any]:
    """What stands above the list: how many of each membership, and which one is chosen."""
    counts = member_lists.counted([channel.pk], Membership.values, bound=PAGE_BOUND)
    return {
        "counts": [(value, counts[channel.pk, value]) for value in Membership.values],
        "bound": PAGE_BOUND,
        "membership": (wanted := _membership(query)),
        "query": urlencode({"membership": wanted}),
    }


def members_page(channel: ChatChannel, query: Mapping[str, str]) -> dict[str, Any]:
    wanted, after = _membership(query), _after(query)
    rows = member_lists.listed(channel, [wanted] if wanted else Membership.values, after=after, limit=SHOWN + 1)
    last = cursors.encode([rows[SHOWN - 1].pk]) if len(rows) > SHOWN else ""
    return {
        "first": not after,
        "members": rows[:SHOWN],
        "hidden": channels.settings_of(channel.project_id).receipts_hidden,
        "more": urlencode({"membership": wanted, "after": last}) if last else "",
    }


def _membership(query: Mapping[str, str]) -> str:
    """What is none is as if nobody had chosen."""
    wanted = query.get("membership", "")
    return wanted if wanted in Membership.values else ""


# --- messages


@dataclass(frozen=True, slots=True)
class Post:
    """A message of the channel; `status` is empty where the message itself was purged."""

    place: ChannelMessage
    at: datetime
    status: str


def messages_page(channel: ChatChannel, query: Mapping[str, str]) -> dict[str, Any]:
    """The newest first."""
    before = _after(query)
    found = ChannelMessage.objects.filter(channel=channel).select_related("creator__user")
    found = found.filter(segment__lt=before) if before else found
    places = list(found.order_by("-segment")[: SHOWN + 1])
    shown = places[:SHOWN]
    statuses = dict(Message.objects.filter(pk__in=[each.pk for each in shown]).values_list("pk", "status"))
    return {
        "first": not before,
        "posts": [Post(each, ids.time_of(each.pk), statuses.get(each.pk, "")) for each in shown],
        "more": urlencode({"after": cursors.encode([shown[-1].segment])}) if len(places) > SHOWN else "",
    }


def _after(query: Mapping[str, str]) -> int:
    """A place that cannot be read is the beginning."""
    try:
        (found,) = cursors.decode(query.get("after", ""), 1)
    except cursors.NotACursor:
        return 0
    return found
