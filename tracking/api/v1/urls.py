"""Addresses of the native API, version 1. No trailing slashes."""

from __future__ import annotations

from django.urls import path

from tracking.api.v1 import views

urlpatterns = [
    path("notifications", views.Notifications.as_view(), name="notifications"),
    path("notifications/batch", views.NotificationBatch.as_view(), name="notification-batch"),
    path("notifications/bulk-status", views.BulkStatus.as_view(), name="bulk-status"),
    path("notifications/<str:notification>", views.Notification.as_view(), name="notification"),
    path("notifications/<str:notification>/events", views.Events.as_view(), name="notification-events"),
    path("notifications/<str:notification>/retry", views.Retry.as_view(), name="notification-retry"),
    path("notifications/<str:notification>/cancel", views.Cancel.as_view(), name="notification-cancel"),
    path("batches/<str:batch>", views.Batch.as_view(), name="batch"),
    path("<path:rest>", views.Nowhere.as_view()),
]
