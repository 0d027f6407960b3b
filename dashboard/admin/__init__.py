"""The admin's pages, by theme. Imported by Django's autodiscovery."""

from dashboard.admin import accounts, codes, inbound, messages, projects, sending

__all__ = ["accounts", "codes", "inbound", "messages", "projects", "sending"]
