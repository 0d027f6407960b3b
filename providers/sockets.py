"""Sockets whose every read and write shares one deadline. Called by the HTTP client and the SMTP adapter.

A timeout for each operation is not enough: a peer that sends a byte now and then would hold a sender thread for ever.
Not covered is the resolver, which has a timeout of its own.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import certifi

_SLACK = 0.05  # seconds by which a socket's timeout may fire early


class _Call(threading.local):
    deadline: float = math.inf


_call = _Call()


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """All that this thread's sockets do inside ends within `seconds`, with a TimeoutError if need be."""
    before, _call.deadline = _call.deadline, time.monotonic() + seconds
    try:
        yield
    finally:
        _call.deadline = before


def expired() -> bool:
    return _call.deadline - time.monotonic() <= _SLACK


def _remaining() -> float:
    left = _call.deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return min(left, threading.TIMEOUT_MAX)


class _Socket(socket.socket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_remaining())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(_remaining())
        super().sendall(*args, **kwargs)


class _TLSSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_remaining())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:  # sendall is a loop over it
        self.settimeout(_remaining())
        return super().send(*args, **kwargs)


Addresses = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


def resolve(host: str, port: int) -> Addresses:
    """What a name leads to. Raises OSError."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error


def connect(addresses: Addresses) -> socket.socket:
    """A connection to the first of the addresses that answers. Raises OSError."""
    failure = OSError("no address")
    for family, kind, protocol, _, address in addresses:
        sock = _Socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(_remaining())
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def authority_fault(authority: str) -> str:
    """Why `tls_context` could not use these certificates; empty where it can."""
    try:
        tls_context(authority)
    except (ssl.SSLError, TypeError, ValueError) as error:
        reason = getattr(error, "reason", None) or "it holds other characters than ASCII"
        return f"not a PEM certificate (-----BEGIN CERTIFICATE----- …): {str(reason).lower().replace('_', ' ')}"
    return ""


def tls_context(authority: str = "") -> ssl.SSLContext:
    """Verifies names and certificates. `authority`: further certificates to trust, as PEM."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()  # an authority of the machine's own, or SSL_CERT_FILE
    if authority:
        context.load_verify_locations(cadata=authority)
    context.sslsocket_class = _TLSSocket
    return context
