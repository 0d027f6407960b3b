"""A long poll on one message. Called by app."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from tracking import following, retention, ticket
from tracking.api import problems
from tracking.api.stream.database import ask
from tracking.api.stream.hub import Hub, Listener
from tracking.models import Project
from tracking.services import act, lookup, stream

LOOK_EVERY = 1.0  # seconds, while not every process knows yet that somebody waits


async def poll(hub: Hub, listener: Listener, message_id: UUID, query: following.WaitQuery) -> dict[str, Any]:
    """The message as soon as its status is another one, else as it is in the end. Raises act.Missing; Problem
    (410) where it may have been purged."""
    until = time.monotonic() + query.wait
    hub.join(listener)
    try:
        found = await _look(listener, message_id)
        known = query.status or found["status"]
        sure_at = time.monotonic() + (await ask(stream.follow, listener.project_id) if query.wait else 0)
        while found["status"] == known and not listener.ended and (left := until - time.monotonic()) > 0:
            sure = time.monotonic() >= sure_at
            await _woken(listener, left if sure else min(left, LOOK_EVERY))
            found = await _look(listener, message_id)
        return found
    finally:
        hub.leave(listener)


def listener_of(caller: ticket.Ticket, message_id: UUID) -> Listener:
    return Listener(caller.project_id, caller.prefix, stream.Filter(messages=frozenset([message_id])))


async def _woken(listener: Listener, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await listener.woken.wait()
    listener.take(0)


async def _look(listener: Listener, message_id: UUID) -> dict[str, Any]:
    found = await ask(lookup.notification, listener.project_id, message_id)
    if found is None:
        raise await ask(_gone, listener.project_id, message_id)
    return found


def _gone(project_id: int, message_id: UUID) -> Exception:
    since = Project.objects.values_list("created_at", flat=True).get(pk=project_id)
    return problems.purged() if retention.was_purged(project_id, message_id, since) else act.Missing()
