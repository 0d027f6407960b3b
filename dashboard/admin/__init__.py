"""The admin's pages, by theme. Imported by Django's autodiscovery."""

from dashboard.admin import accounts, batches, bulk, inbound, messages, people, projects, sending, views, webhooks

__all__ = ["accounts", "batches", "bulk", "inbound", "messages", "people", "projects", "sending", "views", "webhooks"]
