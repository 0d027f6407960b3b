"""What requests about channels, members, their messages and receipts may hold. Called by the services. No ORM."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, TypeAdapter

from tracking.fields import MAX_ITEMS, Json, Line, Text, Word
from tracking.models.channel import KEY, ChannelKind, Membership
from tracking.paging import PageQuery
from tracking.schema import Content, FieldError, Invalid, Strict, checked

MAX_SEGMENT = 2**63 - 1


def _user(value: str) -> str:
    if "/" in value or not value.strip() or not value.isprintable():
        raise ValueError("must be printable, and without a slash")
    return value


def _several(text: str) -> list[str]:
    return text.split(",")


ChannelKey = Annotated[str, StringConstraints(pattern=rf"^{KEY}$")]
UserId = Annotated[Line, Field(min_length=1, max_length=200), AfterValidator(_user)]
Name = Annotated[Line, Field(max_length=200)]
Kind = Literal["community", "conversation", "broadcast", "live"]
MembershipName = Literal["member", "banned", "muted", "non-member", "deleted"]
Segment = Annotated[int, Field(ge=1, le=MAX_SEGMENT)]
assert set(Kind.__args__) == set(ChannelKind.values)  # type: ignore[attr-defined]
assert set(MembershipName.__args__) == set(Membership.values)  # type: ignore[attr-defined]


Memberships = Annotated[
    list[MembershipName], BeforeValidator(_several), Field(description="only these; separated by commas")
]


class ReceiptsQuery(Strict):
    memberships: Memberships | None = None


class MembersQuery(PageQuery):
    memberships: Memberships | None = None


class NewChannel(Strict):
    id: ChannelKey
    name: Name = ""
    type: Kind = "community"


class ChannelChanges(Strict):
    name: Name | None = None


class NewMember(Strict):
    user_id: UserId
    display_name: Name | None = None
    membership: MembershipName = "member"


class NewMembers(Strict):
    members: Annotated[list[NewMember], Field(min_length=1, max_length=MAX_ITEMS)]


class MemberChanges(Strict):
    membership: MembershipName
    display_name: Name | None = None


class UserChanges(Strict):
    display_name: Name | None = None
    receipts_hidden: bool | None = None


class Post(Strict):
    """A message to a channel. Without `user_id` it comes from the application itself."""

    user_id: UserId | None = None
    content: Content
    external_id: Annotated[Line, Field(max_length=200)] = ""
    metadata: Json = {}
    category: Annotated[Line, Field(max_length=100)] = ""
    tags: Annotated[list[Word], Field(max_length=20)] = []


class Mark(Strict):
    """One receipt of one message, which the address names."""

    user_id: UserId
    status: Literal["delivered", "read"]


class ChannelMark(Mark):
    """One receipt in a channel: of a message, or of everything up to a segment."""

    notification_id: Annotated[Text, Field(max_length=45)] | None = None
    segment: Segment | None = None


class Marks(Strict):
    receipts: Annotated[list[ChannelMark], Field(min_length=1, max_length=MAX_ITEMS)]


_NEW_CHANNEL, _CHANGES = TypeAdapter(NewChannel), TypeAdapter(ChannelChanges)
_NEW_MEMBERS, _MEMBER, _USER = TypeAdapter(NewMembers), TypeAdapter(MemberChanges), TypeAdapter(UserChanges)
_POST, _MARK, _MARKS, _USER_ID = TypeAdapter(Post), TypeAdapter(Mark), TypeAdapter(Marks), TypeAdapter(UserId)


def new_channel(document: Any) -> NewChannel:
    return checked(_NEW_CHANNEL, document)


def channel_changes(document: Any) -> dict[str, Any]:
    return _given(checked(_CHANGES, document))


def new_members(document: Any) -> list[NewMember]:
    """Raises Invalid, also where a user is named twice."""
    members = checked(_NEW_MEMBERS, document).members
    seen: set[str] = set()
    for index, member in enumerate(members):
        if member.user_id in seen:
            raise Invalid([FieldError(f"/members/{index}/user_id", "is named twice")])
        seen.add(member.user_id)
    return members


def member_changes(document: Any) -> MemberChanges:
    return checked(_MEMBER, document)


def user_changes(document: Any) -> dict[str, Any]:
    return _given(checked(_USER, document))


def user_id(value: Any) -> str:
    """Raises Invalid."""
    try:
        return checked(_USER_ID, value)
    except Invalid as invalid:
        raise Invalid([FieldError("/user_id", detail) for _, detail in invalid.errors]) from None


def post(document: Any) -> Post:
    """Raises Invalid, also where there is nothing to read."""
    wanted = checked(_POST, document)
    if not (wanted.content.text or wanted.content.html or wanted.content.data):
        raise Invalid([FieldError("/content", "text, html or data is needed")])
    return wanted


def mark(document: Any) -> Mark:
    return checked(_MARK, document)


def marks(document: Any) -> list[ChannelMark]:
    wanted = checked(_MARKS, document).receipts
    wrong = [
        FieldError(f"/receipts/{index}/notification_id", "exactly one of notification_id and segment is needed")
        for index, each in enumerate(wanted)
        if (each.notification_id is None) == (each.segment is None)
    ]
    if wrong:
        raise Invalid(wrong[:100])
    return wanted


def _given(wanted: Strict) -> dict[str, Any]:
    given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    if empty := [name for name, value in given.items() if value is None]:
        raise Invalid([FieldError(f"/{name}", "must not be null") for name in empty])
    return given
