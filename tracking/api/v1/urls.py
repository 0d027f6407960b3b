"""Addresses of the native API, version 1. No trailing slashes."""

from __future__ import annotations

from django.urls import include, path

from tracking.api.v1 import analytics, consents, devices, docs, erasures, exports, streams, views, webhooks

urlpatterns = [
    path("notifications", views.Notifications.as_view(), name="notifications"),
    path("notifications/batch", views.NotificationBatch.as_view(), name="notification-batch"),
    path("notifications/bulk-status", views.BulkStatus.as_view(), name="bulk-status"),
    path("notifications/<str:notification>", streams.Notification.as_view(), name="notification"),
    path("notifications/<str:notification>/events", views.Events.as_view(), name="notification-events"),
    path("notifications/<str:notification>/retry", views.Retry.as_view(), name="notification-retry"),
    path("notifications/<str:notification>/cancel", views.Cancel.as_view(), name="notification-cancel"),
    path("stream", streams.Stream.as_view(), name="stream"),
    path("batches/<str:batch>", views.Batch.as_view(), name="batch"),
    path("erasures", erasures.Erasures.as_view(), name="erasures"),
    path("erasures/<str:erasure>", erasures.Erasure.as_view(), name="erasure"),
    path("webhooks", webhooks.Webhooks.as_view(), name="webhooks"),
    path("webhooks/<str:webhook>", webhooks.Webhook.as_view(), name="webhook"),
    path("webhooks/<str:webhook>/activate", webhooks.Activate.as_view(), name="webhook-activate"),
    path("webhooks/<str:webhook>/deactivate", webhooks.Deactivate.as_view(), name="webhook-deactivate"),
    path("webhooks/<str:webhook>/rotate-secret", webhooks.RotateSecret.as_view(), name="webhook-rotate-secret"),
    path("webhooks/<str:webhook>/test", webhooks.Test.as_view(), name="webhook-test"),
    path("webhooks/<str:webhook>/replay", webhooks.Replay.as_view(), name="webhook-replay"),
    path("webhooks/<str:webhook>/deliveries", webhooks.Deliveries.as_view(), name="webhook-deliveries"),
    path("webhooks/<str:webhook>/deliveries/<str:delivery>", webhooks.Delivery.as_view(), name="webhook-delivery"),
    path(
        "webhooks/<str:webhook>/deliveries/<str:delivery>/replay",
        webhooks.DeliveryReplay.as_view(),
        name="webhook-delivery-replay",
    ),
    path("analytics/delivery-metrics", analytics.DeliveryMetrics.as_view(), name="delivery-metrics"),
    path("analytics/providers", analytics.Providers.as_view(), name="analytics-providers"),
    path("analytics/performance", analytics.Performance.as_view(), name="performance"),
    path("schema", docs.schema, name="api-schema"),
    path("docs", docs.page, name="api-docs"),
    path("docs/<str:name>", docs.file, name="api-docs-file"),
    *exports.urlpatterns,
    path("devices", devices.Devices.as_view(), name="devices"),
    path("devices/<str:device>", devices.Device.as_view(), name="device"),
    path("", include("tracking.api.v1.channel_urls")),
    path("consents", consents.Consents.as_view(), name="consents"),
    path("consents/batch", consents.ConsentBatch.as_view(), name="consent-batch"),
    path("<path:rest>", views.Nowhere.as_view()),
]
