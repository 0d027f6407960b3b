"""The native API, version 1: sends those who want to wait to the stream process. docs/stream.md describes it.

A web process answers at once or not at all: a client that waits would hold one of its few threads.
"""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request

from tracking import following, ticket
from tracking.api.authentication import Caller
from tracking.api.describe import Operation
from tracking.api.problems import Problem
from tracking.api.v1 import shapes, views
from tracking.api.v1.stream_shapes import EventStream
from tracking.models import Scope
from tracking.services import act

TICKET = "ticket"


class Stream(views.View):
    """The web server answers 307: the process at `Location` tells the events. The header `Last-Event-ID` counts as
    `last_event_id` does."""

    scopes = {"GET": Scope.READ}
    describes = {
        "GET": Operation(
            "Changes of status as server-sent events",
            EventStream,
            query=following.StreamQuery,
            media_type="text/event-stream",
            also={307: None},
        )
    }

    def get(self, request: Request) -> HttpResponse:
        given = following.given(dict(request.query_params.lists()))
        if last := request.META.get("HTTP_LAST_EVENT_ID"):
            given.setdefault("last_event_id", last)
        if TICKET not in given:
            following.stream_query(given)
        return elsewhere(self.caller(request), "/v1/stream", given)


class Notification(views.Notification):
    """As it is now; with `wait` as soon as its status is another one, or after so many seconds: then the web server
    answers 307, and the process at `Location` waits."""

    describes = {
        "GET": Operation(
            "Look a message up", shapes.MessageWhole, query=following.WaitQuery, also={307: None}, errors=(410,)
        )
    }

    def get(self, request: Request, notification: str) -> HttpResponse:
        if "wait" not in request.query_params:
            return super().get(request, notification)
        given = following.given(dict(request.query_params.lists()))
        if TICKET not in given:
            following.wait_query(given)
        return elsewhere(self.caller(request), f"/v1/notifications/{_key(notification)}", given)


def _key(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise act.Missing from None


def elsewhere(caller: Caller, path: str, given: dict[str, str]) -> HttpResponse:
    """The same request, at the stream process. Raises Problem (503)."""
    if TICKET in given:  # it came back to us
        raise Problem(503, "unavailable", "Streams are not reachable: STREAM_URL leads to the web server.")
    permission = ticket.write(ticket.Ticket(caller.project_id, caller.prefix))
    query = urlencode({**given, TICKET: permission})
    headers = {"Location": f"{settings.STREAM_URL}{path}?{query}", "Cache-Control": "no-store"}
    return HttpResponse(status=307, headers=headers)
