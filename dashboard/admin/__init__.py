"""The admin's pages, by theme. Imported by Django's autodiscovery."""

from dashboard.admin import (
    accounts,
    alert_channels,
    alert_rules,
    batches,
    bulk,
    codes,
    engagement,
    inbound,
    incidents,
    messages,
    people,
    projects,
    sending,
    views,
    webhooks,
)

__all__ = [
    "accounts",
    "alert_channels",
    "alert_rules",
    "batches",
    "bulk",
    "codes",
    "engagement",
    "inbound",
    "incidents",
    "messages",
    "people",
    "projects",
    "sending",
    "views",
    "webhooks",
]
