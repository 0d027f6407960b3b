"""Which network addresses may be called from here. Called by `providers.http` and by forms that check one early.

A host is judged by what it resolves to, never by its spelling: decimal and hexadecimal forms need no rule of their own.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PUBLIC_V6 = ipaddress.ip_network("2000::/3")
_TUNNELS_V6 = tuple(ipaddress.ip_network(n) for n in ("2001::/23", "2002::/16", "3fff::/20"))
_MISSED_V4 = tuple(ipaddress.ip_network(n) for n in ("192.0.0.0/24", "192.88.99.0/24"))  # is_global lets parts of it by


class AddressRefused(Exception):
    """Wrong scheme, credentials in the address, or a network that is not allowed."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses, and those of `allow`."""

    allow: tuple[Network, ...] = ()

    def permits(self, address: str) -> bool:
        ip = _unmapped(address)
        return _is_public(ip) or any(ip in network for network in self.allow)


def _unmapped(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(address.split("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if ip.version == 6 and (ip not in _PUBLIC_V6 or any(ip in n for n in _TUNNELS_V6)):
        return False
    if ip.version == 4 and any(ip in n for n in _MISSED_V4):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def check_url(url: str) -> None:
    """Raises AddressRefused for what no policy permits. The address itself is checked at connect."""
    try:
        parts = urlsplit(url)
        bad = parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0
    except ValueError as error:
        raise AddressRefused(f"not a web address: {error}") from error
    if bad or "@" in parts.netloc:
        raise AddressRefused("the address must be http(s) and carry no user name")
