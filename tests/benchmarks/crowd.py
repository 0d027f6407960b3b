"""A thousand open streams, read by one thread. Used by the row `stream` and by the stream tests."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Sequence

READY_SECONDS = 60.0


class Crowd:
    """One stream for each query. It counts who is ready and how many changes came; what they say is not looked at."""

    def __init__(self, port: int, key: str, queries: Sequence[str]) -> None:
        self._selector = selectors.DefaultSelector()
        self._ready: set[int] = set()
        self._rest: dict[int, bytes] = {}
        self.changes = self.broken = 0
        self._closing = False
        self._sockets = [self._open(port, key, query) for query in queries]
        self._thread = threading.Thread(target=self._read, name="crowd")
        self._thread.start()
        deadline = time.monotonic() + READY_SECONDS
        while len(self._ready) < len(queries) and time.monotonic() < deadline and not self.broken:
            time.sleep(0.05)
        if self.broken or len(self._ready) < len(queries):
            self.close()
            raise RuntimeError(f"{len(self._ready)} of {len(queries)} streams are ready, {self.broken} broke off")

    def _open(self, port: int, key: str, query: str) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port), 30)
        head = f"GET /v1/stream{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n"
        client.sendall(head.encode())
        client.setblocking(False)
        self._selector.register(client, selectors.EVENT_READ)
        return client

    def _read(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.2):
                self._take(key.fileobj, key.fd)

    def _take(self, client: socket.socket, number: int) -> None:
        data = client.recv(65_536)
        if not data:
            self.broken += not self._closing
            self._selector.unregister(client)
            return
        *lines, self._rest[number] = (self._rest.get(number, b"") + data).split(b"\n")
        self.changes += lines.count(b"event: status")
        if b"event: ready" in lines:
            self._ready.add(number)

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        for client in self._sockets:
            client.close()
        self._selector.close()
