"""The admin's pages, by theme. Imported by Django's autodiscovery."""

from dashboard.admin import accounts, inbound, messages, people, projects, sending

__all__ = ["accounts", "inbound", "messages", "people", "projects", "sending"]
