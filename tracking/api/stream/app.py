"""The ASGI application of the stream process (config.asgi): routes, limits and errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse

from tracking import following, middleware, problem
from tracking.api import json, problems
from tracking.api.stream.asked import Asked, asked
from tracking.api.stream.client import Client, Gone, Message
from tracking.api.stream.database import ask
from tracking.api.stream.hub import Hub
from tracking.api.stream.poll import listener_of as poller_of
from tracking.api.stream.poll import poll
from tracking.api.stream.tail import Tail
from tracking.api.stream.telling import listener_of, tell
from tracking.ticket import Ticket

log = logging.getLogger(__name__)

START_SECONDS = 5.0  # for which the first clients wait for the database
HEALTH = "/healthz"

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application:
    def __init__(self) -> None:
        self.hub = Hub()
        self._tail: Tail | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, Client(receive, send))

    async def _live(self, receive: Receive, send: Send) -> None:
        self._tail = Tail(self.hub, asyncio.get_running_loop())
        self._tail.start()
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                self._tail.stop()
                self.hub.end_all()
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    async def _answer(self, scope: dict[str, Any], client: Client) -> None:
        try:
            if scope["path"] == HEALTH:
                await client.answer(200, {"Content-Type": json.MEDIA_TYPE}, b'{"status": "ok"}')
                return
            await self._serve(await ask(asked, scope), client)
        except Gone:
            log.debug("a client that took nothing was given up")
        except Exception as error:
            answer = _told(error)
            await client.answer(answer.status_code, dict(answer.items()), answer.content)
        finally:
            client.close()

    async def _serve(self, wish: Asked, client: Client) -> None:
        if wish.message_id is None:
            await self._stream(wish.caller, wish.stream(), client)
        else:
            await self._poll(wish.caller, wish.message_id, wish.wait(), client)

    async def _stream(self, caller: Ticket, query: following.StreamQuery, client: Client) -> None:
        with self._counted(caller.prefix):
            await self._started()
            listener = listener_of(caller.project_id, caller.prefix, query)
            await tell(self.hub, listener, client, query.last_event_id)

    async def _poll(self, caller: Ticket, message_id: UUID, query: following.WaitQuery, client: Client) -> None:
        with self._counted(caller.prefix):
            await self._started()
            listener = poller_of(caller, message_id)
            client.when_gone(listener.end)
            found = await poll(self.hub, listener, message_id, query)
        await client.answer(200, {"Content-Type": json.MEDIA_TYPE, "Cache-Control": "no-store"}, json.dumps(found))

    @contextmanager
    def _counted(self, prefix: str) -> Iterator[None]:
        if self.hub.open_of(prefix) >= settings.STREAMS_PER_KEY:
            detail = f"This key has {settings.STREAMS_PER_KEY} streams and long polls open, which is its limit."
            raise problems.Problem(429, "too-many-streams", detail)
        self.hub.count(prefix, +1)
        try:
            yield
        finally:
            self.hub.count(prefix, -1)

    async def _started(self) -> None:
        assert self._tail is not None
        async with asyncio.timeout(START_SECONDS):
            await self._tail.started.wait()


def _told(error: Exception) -> HttpResponse:
    answer = problems.handler(error, {})
    if answer is None and (middleware.is_away(error) or isinstance(error, TimeoutError)):
        answer = problems.unavailable("The database is not available.")
    if answer is None:
        log.error("a stream failed", exc_info=error)
        answer = problems.answer(problem.document(500, "failed", problems.BY_STATUS[500][1]))
    if answer.status_code == 429:
        answer["Retry-After"] = problems.RETRY_AFTER
    return answer
