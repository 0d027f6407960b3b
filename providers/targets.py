"""Checks an address that somebody gives us to call, when it is given. Called by whoever stores one.

What can be known then is said then; the address is checked again at each call, as names may lead elsewhere by then.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from urllib.parse import urlsplit

import requests

from providers import sockets
from providers.addresses import AddressPolicy, AddressRefused, check_url

WELL_KNOWN_PORTS = frozenset({80, 443})  # of those below 1024, where other services than the web's listen
LOOKUP_SECONDS = 2.0

_resolver = ThreadPoolExecutor(4, thread_name_prefix="look-up")  # the system's resolver knows no timeout


def check(url: str, policy: AddressPolicy) -> None:
    """Raises AddressRefused. A name that leads nowhere (yet) passes."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise AddressRefused("the address must be ASCII, without spaces, backslashes and control characters")
    check_url(url)
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if port < 1024 and port not in WELL_KNOWN_PORTS:
        raise AddressRefused(f"port {port} is not allowed: 80, 443 and those from 1024 on are")
    try:
        prepared = requests.Request("POST", url).prepare()
    except (requests.RequestException, ValueError) as error:
        raise AddressRefused("the address cannot be called") from error
    host = (urlsplit(prepared.url or "").hostname or "").removesuffix(".")  # as it is called: 10.0.0.1. is an address
    # % is an escape, which libraries resolve each in its own way, or the zone of an address of this machine's own links
    if "%" in parts.netloc or not _possible(host):
        raise AddressRefused("the host is not a possible name")
    for address in _addresses(host, port):
        if not policy.permits(address):
            raise AddressRefused("the host leads to an address that is not allowed: only public ones are")


def _possible(host: str) -> bool:
    """Each label of a possible length, and one that IDNA can decode."""
    if any(not 0 < len(label) < 64 for label in host.split(".")):
        return False
    try:
        host.encode("ascii").decode("idna")
    except UnicodeError:
        return False
    return True


def _addresses(host: str, port: int) -> list[str]:
    with suppress(OSError, TooLate):
        found = _resolver.submit(sockets.resolve, host, port).result(LOOKUP_SECONDS)
        return [str(address[4][0]) for address in found]
    return []
