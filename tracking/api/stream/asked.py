"""What a request to the stream process wants, and whether it may. Used by app."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from tracking import following, ticket
from tracking.api import authentication
from tracking.api.problems import Problem
from tracking.models import Scope

_WAIT = re.compile(r"/v1/notifications/([0-9a-fA-F-]{32,36})\Z")
STREAM = "/v1/stream"


@dataclass(frozen=True, slots=True)
class Asked:
    caller: ticket.Ticket
    message_id: UUID | None  # of a long poll; None: a stream is wanted
    query: Mapping[str, str]

    def stream(self) -> following.StreamQuery:
        """Raises BadQuery."""
        return following.stream_query(self.query)

    def wait(self) -> following.WaitQuery:
        """Raises BadQuery."""
        return following.wait_query(self.query)


def asked(scope: Mapping[str, Any]) -> Asked:
    """Reads the database where a key is shown instead of a ticket. Raises Problem (400, 401, 403, 404, 405)."""
    message_id = _address(scope["path"])
    if scope["method"] != "GET":
        raise Problem(405, "method-not-allowed", "This address takes GET.")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    caller = _caller(query.pop("ticket", None), headers)
    if message_id is None and (last := headers.get("last-event-id")):
        query.setdefault("last_event_id", last)
    return Asked(caller, message_id, query)


def _address(path: str) -> UUID | None:
    if path == STREAM:
        return None
    if match := _WAIT.match(path):
        try:
            return UUID(match[1])
        except ValueError:
            pass
    raise Problem(404, "not-found", "There is nothing at this address.")


def _caller(permission: str | None, headers: Mapping[str, str]) -> ticket.Ticket:
    if permission is not None:
        found = ticket.read(permission)
        if found is None:
            raise Problem(401, "unauthenticated", "The ticket is not valid any more: ask at the first address again.")
        return found
    key = authentication.presented(headers.get("authorization"), headers.get("x-api-key"))
    caller = None if key is None else authentication.caller_of(key)
    if caller is None:
        raise Problem(401, "unauthenticated", "A valid API key is needed: `Authorization: Bearer <key>`.")
    if Scope.READ not in caller.scopes:
        raise Problem(403, "missing-scope", "The API key lacks the scope `read`.")
    return ticket.Ticket(caller.project_id, caller.prefix)
