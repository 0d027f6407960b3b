"""Addresses of channels and their receipts, below /v1."""

from __future__ import annotations

from django.urls import path

from tracking.api.v1 import channels

urlpatterns = [
    path("channels", channels.Channels.as_view(), name="channels"),
    path("channels/<str:channel>", channels.Channel.as_view(), name="channel"),
    path("channels/<str:channel>/members", channels.ChannelMembers.as_view(), name="channel-members"),
    path("channels/<str:channel>/members/<str:user>", channels.ChannelMember.as_view(), name="channel-member"),
    path("channels/<str:channel>/messages", channels.ChannelMessages.as_view(), name="channel-messages"),
    path("channels/<str:channel>/receipts", channels.ChannelReceipts.as_view(), name="channel-receipts"),
    path("chat-users/<str:user>", channels.ChatUser.as_view(), name="chat-user"),
    path("chat-users/<str:user>/token", channels.ChatUserToken.as_view(), name="chat-user-token"),
    path("notifications/<str:notification>/receipts", channels.Receipts.as_view(), name="notification-receipts"),
    path(
        "notifications/<str:notification>/receipts/<str:kind>",
        channels.ReceiptUsers.as_view(),
        name="notification-receipt-users",
    ),
]
