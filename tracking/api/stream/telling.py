"""A stream of server-sent events, from its start to its end. Called by app.

What is kept in the database is sent first; from the moment that a client has joined the hub it gets the rest live.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from tracking import following
from tracking.api.stream.client import Client
from tracking.api.stream.database import ask
from tracking.api.stream.hub import Hub, Listener, frame_of, notice
from tracking.services import stream

SETTLE_SECONDS = 20.0  # at most, for transactions that began before all knew of the follower
LOOK_EVERY = 0.2
CHUNK = 500  # events of the past, read and sent at once
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx is not to wait for more
}
_HELLO = b": postroom\nretry: 2000\n\n"
_READY = "All changes from here on follow."
_RESET = "What came before is not kept (any more): ask for the statuses that matter."


def listener_of(project_id: int, prefix: str, query: following.StreamQuery) -> Listener:
    wanted = stream.Filter(
        frozenset(channel.value for channel in query.channel),
        frozenset(status.value for status in query.status),
        query.notification_id,
    )
    return Listener(project_id, prefix, wanted)


async def tell(hub: Hub, listener: Listener, client: Client, last: int | None) -> None:
    """Until the client has gone or the listener is ended. Raises client.Gone where it is too slow."""
    client.when_gone(listener.end)
    await client.start(200, HEADERS)
    await client.tell(_HELLO)
    await _pause(listener, await ask(stream.follow, listener.project_id))
    try:
        number = await _begin(hub, listener, client, last)
        while not listener.ended:
            await listener.woken.wait()
            number, piece = listener.take(number)
            if piece:
                await client.tell(piece)
    finally:
        hub.leave(listener)
    await client.end()


async def _pause(listener: Listener, seconds: float) -> None:
    """Until all processes know that the project is followed, and what was written by one that did not is committed."""
    if not seconds:
        return
    await _wait(listener, seconds)
    until, last = await ask(stream.under_way), time.monotonic() + SETTLE_SECONDS
    while not listener.ended and time.monotonic() < last and not await ask(stream.ended, until):
        await _wait(listener, LOOK_EVERY)


async def _wait(listener: Listener, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await listener.woken.wait()  # only its end wakes it: it has not joined


async def _begin(hub: Hub, listener: Listener, client: Client, last: int | None) -> int:
    """Catch up, join, and say so. The number from which on it goes live."""
    number = last if last is not None and last <= await ask(stream.newest) else None
    if number is not None:
        try:
            number = await _replay(listener, client, number)
            hub.join(listener)
            number = await _replay(listener, client, number)  # what came while it was not in the hub yet
        except stream.Gone:
            number = None
    if number is not None:
        await client.tell(notice("ready", number, _READY))
        return number
    hub.join(listener)
    number = await ask(stream.newest)
    await client.tell(notice("ready", number, _READY) if last is None else notice("reset", number, _RESET))
    return number


async def _replay(listener: Listener, client: Client, number: int) -> int:
    """Raises stream.Gone where something is missing."""
    while not listener.ended:
        events = await ask(stream.of_project, listener.project_id, number, CHUNK)
        if wanted := b"".join(frame_of(event) for event in events if listener.filter.wants(event)):
            await client.tell(wanted)
        if events:
            number = events[-1].number
        if len(events) < CHUNK:
            break
    return number
