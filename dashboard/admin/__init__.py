"""The admin's pages, by theme. Imported by Django's autodiscovery."""

from dashboard.admin import (
    accounts,
    alert_channels,
    alert_rules,
    batches,
    bulk,
    codes,
    erasures,
    inbound,
    incidents,
    messages,
    people,
    projects,
    retention,
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
    "erasures",
    "inbound",
    "incidents",
    "messages",
    "people",
    "projects",
    "retention",
    "sending",
    "views",
    "webhooks",
]
