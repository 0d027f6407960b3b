"""`python -m tests.benchmarks.sink`: an SMTP server that takes everything and keeps nothing. Prints its port.

Fast on purpose (one process, no parsing of mail), so that it takes little of what the two sides are compared by.
"""

from __future__ import annotations

import asyncio
import sys

_OFFERS = (b"SIZE 10485760", b"PIPELINING", b"ENHANCEDSTATUSCODES")
_EHLO = b"".join(b"250-%s\r\n" % offer for offer in (b"sink", *_OFFERS)) + b"250 8BITMIME\r\n"


class Sink(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._buffer = b""
        self._in_data = False
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._step():
            pass

    def _step(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n.\r\n" if self._in_data else b"\r\n")
        if not end:
            return False
        self._buffer = rest
        if self._in_data:
            self._in_data = False
            self._transport.write(b"250 2.0.0 taken\r\n")
        else:
            self._command(head[:4].upper())
        return True

    def _command(self, verb: bytes) -> None:
        if verb == b"EHLO":
            self._transport.write(
                b"250-sink\r\n250-SIZE 10485760\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n"
            )
        elif verb == b"DATA":
            self._in_data = True
            self._transport.write(b"354 go on\r\n")
        elif verb == b"QUIT":
            self._transport.write(b"221 bye\r\n")
            self._transport.close()
        else:
            self._transport.write(b"250 2.1.0 ok\r\n")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0, backlog=128)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
