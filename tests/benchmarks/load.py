"""A small fast HTTP client: requests made beforehand, a few kept connections, a thread each."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping

CONNECTIONS = 8
TIMEOUT = 30.0  # seconds


def request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, raw: bytes) -> bytes:
        """The body of the answer. Raises RuntimeError on any but a 2xx."""
        self._socket.sendall(raw)
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]) if b"content-length:" in head else 0
        parts, have = [data[end + 4 :]], len(data) - end - 4
        while have < length:
            parts.append(self._more())
            have += len(parts[-1])
        body = b"".join(parts)
        if not data.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{data[:end].decode()}\n{body[:500].decode(errors='replace')}")
        return body

    def _more(self) -> bytes:
        data = self._socket.recv(262_144)
        if not data:
            raise RuntimeError("the server closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()


def run(port: int, requests: Iterable[bytes], connections: int = CONNECTIONS) -> float:
    """Ask all of them; the seconds that it took. Raises where one was not answered with a 2xx."""
    left = deque(requests)
    errors: list[Exception] = []

    def work(connection: Connection) -> None:
        try:
            while not errors:
                connection.ask(left.popleft())
        except IndexError:
            pass
        except Exception as error:
            errors.append(error)

    open_ones = [Connection(port) for _ in range(connections)]
    threads = [threading.Thread(target=work, args=(connection,)) for connection in open_ones]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    for connection in open_ones:
        connection.close()
    if errors:
        raise errors[0]
    return took
