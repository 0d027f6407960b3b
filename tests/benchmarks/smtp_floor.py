"""`python -m tests.benchmarks.smtp_floor PORT MESSAGES CONNECTIONS`: smtplib alone, a thread for each connection.

Says that it is ready, waits for a line on standard input, sends, ends.
"""

from __future__ import annotations

import smtplib
import sys
import threading

_MESSAGE = (
    b"From: shop@example.com\r\nTo: user@example.com\r\nSubject: Your order\r\nMessage-ID: <%d@example.com>\r\n"
    b"Date: Mon, 16 Nov 2026 09:00:00 GMT\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    b"Your order has been sent to you.\r\n"
)


def _send(client: smtplib.SMTP, numbers: range) -> None:
    for number in numbers:
        client.sendmail("shop@example.com", [f"user{number}@example.com"], _MESSAGE % number)


def main(port: int, count: int, connections: int) -> None:
    clients = [smtplib.SMTP("127.0.0.1", port, "bench.example.com") for _ in range(connections)]
    shares = [range(n, count, len(clients)) for n in range(len(clients))]
    for client in clients:
        client.ehlo()
    threads = [threading.Thread(target=_send, args=pair) for pair in zip(clients, shares, strict=True)]
    print("ready", flush=True)
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
