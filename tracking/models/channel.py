"""Chat channels: who is in them, which messages stand in them, and how far each member got. Written by
services.channels, members, channel_posts and markers.

A member's two markers are watermarks: every message of the channel up to that segment is delivered to them, or read.
"""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from tracking.models.project import Project

RECIPIENT = "channel:"  # how the recipient of a message to a channel begins
KEY = r"[A-Za-z0-9_.:@~-]{1,100}"  # stands in addresses as it is: clients do not escape it


class Membership(models.TextChoices):
    MEMBER = "member", "member"
    BANNED = "banned", "banned"
    MUTED = "muted", "muted"
    NON_MEMBER = "non-member", "non-member"  # left; what they got stays on record
    DELETED = "deleted", "deleted"  # the user is gone


PRESENT = (Membership.MEMBER, Membership.MUTED)  # may read and mark; only a member may post


class ChannelKind(models.TextChoices):
    COMMUNITY = "community", "community"
    CONVERSATION = "conversation", "conversation"
    BROADCAST = "broadcast", "broadcast"
    LIVE = "live", "live"


class ChannelSettings(models.Model):
    """What a project wants of its channels. No row: the defaults."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="channel_settings")
    receipts_hidden = models.BooleanField(
        default=False,
        help_text="Nobody is told who got or read a message, nor how many: not the API, not this console.",
    )
    secure_sessions = models.BooleanField(
        default=False, help_text="A user's session needs a token that your own server asked for."
    )

    class Meta:
        db_table = "channel_settings"
        verbose_name = verbose_name_plural = "channels"

    def __str__(self) -> str:
        return f"channels of {self.project_id}"


class ChatChannel(models.Model):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, db_index=False)
    key = models.CharField(max_length=100, validators=[RegexValidator(rf"^{KEY}\Z")])
    kind = models.CharField(max_length=20, choices=ChannelKind.choices, default=ChannelKind.COMMUNITY)
    name = models.CharField(max_length=200, blank=True, default="")
    last_segment = models.BigIntegerField(default=0, help_text="The number of the newest message.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "chat_channel"
        verbose_name = "channel"
        constraints = [
            models.UniqueConstraint(fields=["project", "key"], condition=Q(deleted_at=None), name="chat_channel_key")
        ]
        indexes = [models.Index(fields=["project", "id"], condition=Q(deleted_at=None), name="chat_channel_project")]

    def __str__(self) -> str:
        return self.key


class ChatUser(models.Model):
    """Somebody who uses a project's application. Known by the application's own id."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, db_index=False)
    user_id = models.CharField(max_length=200)
    display_name = models.CharField(max_length=200, blank=True, default="")
    receipts_hidden = models.BooleanField(default=False)
    sessions_since = models.DateTimeField(null=True, help_text="Sessions from before have ended.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "chat_user"
        constraints = [models.UniqueConstraint(fields=["project", "user_id"], name="chat_user_id")]

    def __str__(self) -> str:
        return f"user {self.pk}"


class ChatMember(models.Model):
    """A user in a channel. Whoever left stays, with another membership: receipts refer to them."""

    channel = models.ForeignKey(ChatChannel, on_delete=models.CASCADE, related_name="members", db_index=False)
    user = models.ForeignKey(ChatUser, on_delete=models.CASCADE, related_name="memberships", db_index=False)
    membership = models.CharField(max_length=10, choices=Membership.choices, default=Membership.MEMBER)
    hidden = models.BooleanField(default=False, help_text="A copy of the user's receipts_hidden, for the indexes.")
    delivered_to_segment = models.BigIntegerField(default=0)
    read_to_segment = models.BigIntegerField(default=0)
    delivered_recorded = models.BigIntegerField(default=0, help_text="Up to here the messages themselves know of it.")
    read_recorded = models.BigIntegerField(default=0)
    reading_since = models.DateTimeField(null=True, help_text="The channel is open on a device of theirs.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "chat_member"
        constraints = [models.UniqueConstraint(fields=["channel", "user"], name="chat_member_once")]
        indexes = [
            models.Index(fields=["user", "channel"], name="chat_member_user"),
            models.Index(fields=["channel", "membership", "id"], name="chat_member_list"),
            # a page of receipts, and their number, are read from these alone
            models.Index(
                fields=["channel", "membership", "delivered_to_segment", "id"],
                condition=Q(hidden=False),
                name="chat_member_delivered",
            ),
            models.Index(
                fields=["channel", "membership", "read_to_segment", "id"],
                condition=Q(hidden=False),
                name="chat_member_read",
            ),
        ]

    def __str__(self) -> str:
        return f"member {self.pk}"


class ChannelMessage(models.Model):
    """The place of a message in its channel. `delivered` and `read`: somebody else's marker reached it, and the message
    has that on record."""

    message_id = models.UUIDField(primary_key=True, editable=False)
    channel = models.ForeignKey(ChatChannel, on_delete=models.CASCADE, db_index=False)
    segment = models.BigIntegerField()
    creator = models.ForeignKey(ChatMember, on_delete=models.DO_NOTHING, db_constraint=False, null=True, db_index=False)
    delivered = models.BooleanField(default=False)
    read = models.BooleanField(default=False)

    class Meta:
        db_table = "channel_message"
        constraints = [models.UniqueConstraint(fields=["channel", "segment"], name="channel_message_place")]
        indexes = [
            models.Index(
                fields=["channel", "segment"], condition=Q(delivered=False), name="channel_message_undelivered"
            ),
            models.Index(fields=["channel", "segment"], condition=Q(read=False), name="channel_message_unread"),
        ]

    def __str__(self) -> str:
        return str(self.message_id)
