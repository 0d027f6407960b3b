"""The test database, for processes that a test starts."""

from __future__ import annotations

from urllib.parse import quote

from django.db import connection


def url(name: str | None = None) -> str:
    """Of the test database, or of another one on its server."""
    params = connection.get_connection_params()
    login = ":".join(quote(params[part], safe="") for part in ("user", "password") if params.get(part))
    host, port = quote(params.get("host") or "127.0.0.1", safe=""), params.get("port") or 5432
    return f"postgres://{login}@{host}:{port}/{name or params['dbname']}"
