"""Addresses of social.plus' API, below /api: exact ones alone, so that /api/v1 stays free for others."""

from __future__ import annotations

from django.urls import path

from tracking.api.compat.socialplus import markers, messages, sessions

_FEED = "v1/markers/message-feeds/<str:feed>"
_MESSAGE = "v1/markers/messages/<str:message>"
_USERS = markers.MessageUsers.as_view()

urlpatterns = [
    path("v5/sessions", sessions.Sessions.as_view()),
    path("v4/sessions", sessions.OpenSessions.as_view()),
    path("v3/network-settings/chat", sessions.ChatSettings.as_view()),
    path("v3/users/list", sessions.Users.as_view()),
    path("v3/users/<str:user>", sessions.User.as_view()),
    path("v3/channels", messages.Channels.as_view()),
    path("v3/channels/list", messages.Channels.as_view()),
    path("v3/channels/<str:channel>", messages.Channel.as_view()),
    path("v5/message-feeds/list", messages.Feeds.as_view()),
    path("v5/message-feeds/channel/<str:channel>", messages.FeedsOfChannel.as_view()),
    path("v5/message-feeds/<str:feed>", messages.Feed.as_view()),
    path("v5/messages", messages.Messages.as_view()),
    path("v5/messages/list", messages.MessageList.as_view()),
    path("v5/messages/<str:message>", messages.Message.as_view()),
    path("v1/markers/sync", markers.Sync.as_view()),
    path("v1/markers/userMarker", markers.Mine.as_view()),
    path("v1/markers/channels", markers.Mine.as_view()),
    path("v1/markers/channels/<str:feed>/mark-read", markers.MarkRead.as_view()),
    path("v1/markers/user-message-feed", markers.Mine.as_view()),
    path("v1/markers/message-feeds", markers.MineOfFeeds.as_view()),
    path("v1/markers/message-feeds/reading", markers.Reading.as_view()),
    path(f"{_FEED}/mark-delivering", markers.MarkDelivering.as_view()),
    path(f"{_FEED}/mark-read", markers.MarkRead.as_view()),
    path(f"{_FEED}/start-reading", markers.StartReading.as_view()),
    path(f"{_FEED}/stop-reading", markers.StopReading.as_view()),
    path("v1/markers/messages", markers.MessageMarkers.as_view()),
    path(f"{_MESSAGE}/delivered-users", _USERS, {"kind": "delivered"}),
    path(f"{_MESSAGE}/read-users", _USERS, {"kind": "read"}),
]
