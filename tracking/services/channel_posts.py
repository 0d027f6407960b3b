"""Messages to channels: one message for all members, with a number (segment) in the channel. Called by the API.

A message is an ordinary one, so that the console, webhooks, metrics and retention treat it as such: of channel
`chat`, to `channel:<id>`, and sent as soon as it stands in its channel, from where the members' applications fetch it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from tracking import channel_schema, cursors, ids, partitions, schema
from tracking.channel_schema import Post
from tracking.models import ChannelMessage, ChatChannel, ChatMember, Content, Membership
from tracking.models.channel import RECIPIENT
from tracking.paging import PageQuery
from tracking.services import channels, members, route, submit
from tracking.services.act import Missing, Refused
from tracking.services.idempotency import Key


@dataclass(frozen=True, slots=True)
class Posted:
    """A message in its channel. `body` is empty where the content is not kept any more."""

    place: ChannelMessage
    channel: ChatChannel
    body: dict[str, Any]

    @property
    def creator(self) -> str:
        return self.place.creator.user.user_id if self.place.creator else ""


def post(
    sender: submit.Sender, channel: ChatChannel, document: Any, *, key: Key | None = None
) -> tuple[dict[str, Any], ChannelMessage]:
    """The answer of submit, and the message's place. Raises Invalid, Missing, Refused, idempotency.Reused."""
    wanted = channel_schema.post(document)
    creator = None if wanted.user_id is None else _creator(channel, wanted.user_id)
    if all(each.code != channels.ACCOUNT for each in route.granted(sender.project_id)):
        route.forget()  # kept from before the project's first channel
    return partitions.with_repair(lambda: _post(sender, channel, creator, wanted, key))


def _creator(channel: ChatChannel, user_id: str) -> ChatMember:
    member = members.named(channel, user_id)
    if member.membership != Membership.MEMBER:
        raise Refused(f"the user may not post here: {member.membership}")
    return member


@transaction.atomic
def _post(
    sender: submit.Sender, channel: ChatChannel, creator: ChatMember | None, wanted: Post, key: Key | None
) -> tuple[dict[str, Any], ChannelMessage]:
    answer = submit.submit(sender, _document(channel, wanted), key=key)
    message_id = UUID(str(answer["id"]))
    place = ChannelMessage.objects.filter(pk=message_id).first()
    if place is None:  # else it was there already: the same idempotency key
        place = _place(channel, message_id, creator)
    return answer, place


def _document(channel: ChatChannel, wanted: Post) -> dict[str, Any]:
    """The request to submit. Its own reference: the segment is given when nothing can go wrong any more, because all
    other messages of the channel wait from then on."""
    return {
        "channel": "chat",
        "recipient": f"{RECIPIENT}{channel.key}",
        "provider": channels.ACCOUNT,
        "provider_message_id": str(ids.new()),
        "content": wanted.content.model_dump(),
        "sender": wanted.user_id or "",
        "external_id": wanted.external_id,
        "metadata": wanted.metadata,
        "category": wanted.category,
        "tags": wanted.tags,
    }


def _place(channel: ChatChannel, message_id: UUID, creator: ChatMember | None) -> ChannelMessage:
    locked = channels.find(channel.project_id, channel.key, lock=True)
    locked.last_segment += 1
    locked.save(update_fields=["last_segment", "updated_at"])
    if creator is not None:  # their own message is no news to them, unless there is something before it that they miss
        before = locked.last_segment - 1
        caught_up = ChatMember.objects.filter(pk=creator.pk)
        caught_up.filter(delivered_to_segment=before).update(delivered_to_segment=F("delivered_to_segment") + 1)
        caught_up.filter(read_to_segment=before).update(read_to_segment=F("read_to_segment") + 1)
    return ChannelMessage.objects.create(
        message_id=message_id, channel=locked, segment=locked.last_segment, creator=creator
    )


# --- read


def find(project_id: int, message_id: UUID) -> ChannelMessage:
    """The place of a message of this project. Raises Missing."""
    place = (
        ChannelMessage.objects.select_related("channel", "creator__user")
        .filter(pk=message_id, channel__project_id=project_id)
        .first()
    )
    if place is None:
        raise Missing
    return place


def several(project_id: int, message_ids: Collection[UUID]) -> list[ChannelMessage]:
    """The places of those that are messages to channels of this project."""
    rows = ChannelMessage.objects.select_related("channel", "creator__user").filter(
        pk__in=message_ids, channel__project_id=project_id
    )
    return list(rows)


def with_content(places: Sequence[ChannelMessage]) -> list[Posted]:
    bodies = Content.objects.in_bulk([place.pk for place in places]) if places else {}
    return [Posted(place, place.channel, bodies[place.pk].body if place.pk in bodies else {}) for place in places]


def newest(
    channel: ChatChannel, *, before: int | None = None, after: int | None = None, limit: int
) -> list[ChannelMessage]:
    """Newest first: those before a segment; or, oldest first, those after one."""
    found = ChannelMessage.objects.select_related("channel", "creator__user").filter(channel=channel)
    if after is not None:
        return list(found.filter(segment__gt=after).order_by("segment")[:limit])
    if before is not None:
        found = found.filter(segment__lt=before)
    return list(found.order_by("-segment")[:limit])


def page(channel: ChatChannel, query: dict[str, str]) -> dict[str, Any]:
    """Newest first. Raises BadQuery."""
    asked = schema.query(PageQuery, query)
    limit, before = asked.limit, channels.place_of(asked.cursor, 1)
    rows = newest(channel, before=before[0] if before else None, limit=limit + 1)
    more = cursors.encode([rows[limit - 1].segment]) if len(rows) > limit else None
    return {"messages": [shape(each) for each in with_content(rows[:limit])], "next_cursor": more}


def shape(posted: Posted) -> dict[str, Any]:
    body = posted.body
    return {
        "id": posted.place.pk,
        "channel_id": posted.channel.key,
        "segment": posted.place.segment,
        "user_id": posted.creator or None,
        "created_at": ids.time_of(posted.place.pk),
        "content": {name: body[name] for name in ("text", "html", "data") if name in body} if body else None,
        "metadata": body.get("metadata", {}),
        "tags": body.get("tags", []),
    }
