"""The client at the other end of a request: sends to it, and notices that it has gone. Used by the stream process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
SEND_SECONDS = 30.0  # for a client to take what is sent, before it is given up


class Gone(Exception):
    """The client has gone, or takes nothing any more."""


class Client:
    def __init__(self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        self._receive, self._send = receive, send
        self._watch: asyncio.Task[None] | None = None

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        await self.start(status, {**headers, "Content-Length": str(len(body))})
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def tell(self, body: bytes) -> None:
        """A piece of an answer that goes on. Raises Gone."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
        except TimeoutError:
            raise Gone from None

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    def when_gone(self, call: Callable[[str], None]) -> None:
        """Call it with a reason once the client has closed its connection."""

        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            call("the client has gone")

        self._watch = asyncio.ensure_future(watch())

    def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
