"""Which account a message goes through. Called by submit and by an operator's retry.

What is granted to a project is read in one query and kept for a second in each process: so long may it take until a
new grant, a disabled account or an open circuit is seen by everybody.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from providers.models import ProviderAccount

KEPT = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Route:
    account_id: int
    code: str
    channel: str
    enabled: bool
    open_until: datetime | None  # of its circuit
    service: str  # what a chat account carries: viber, rcs …
    price: Decimal  # of a part
    currency: str

    def healthy(self, now: datetime) -> bool:
        return self.open_until is None or self.open_until <= now


class NoRoute(Exception):
    """No account can take the message. `field`: which field of the request leads nowhere."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


_lock = threading.Lock()
_kept: dict[int, tuple[float, tuple[Route, ...]]] = {}


def granted(project_id: int) -> tuple[Route, ...]:
    """Every account of the project, the preferred ones first."""
    until, routes = _kept.get(project_id, (0.0, ()))
    if time.monotonic() < until:
        return routes
    found = (
        ProviderAccount.objects.filter(grant__project_id=project_id)
        .order_by("-weight", "code")
        .values_list("pk", "code", "channel", "enabled", "circuit__open_until", "service", "price_per_part", "currency")
    )
    routes = tuple(Route(*values) for values in found)
    with _lock:
        _kept[project_id] = (time.monotonic() + KEPT, routes)
    return routes


def forget() -> None:
    """For tests and for whoever has just changed a grant."""
    _kept.clear()


def choose(project_id: int, channel: str, provider: str | None = None, *, sending: bool = True) -> Route:
    """The account that was asked for; else the first healthy one, or the first where none is healthy. `sending` is
    False for a message that was sent elsewhere. Raises NoRoute."""
    routes = [route for route in granted(project_id) if route.channel == channel]
    if provider is not None:
        return _named(routes, channel, provider, sending=sending)
    usable = [route for route in routes if route.enabled]
    if not usable:
        raise NoRoute("channel", f"no enabled account for {channel} is granted to this project")
    now = datetime.now(UTC)
    return next((route for route in usable if route.healthy(now)), usable[0])


def _named(routes: list[Route], channel: str, provider: str, *, sending: bool) -> Route:
    for route in routes:
        if route.code == provider:
            if sending and not route.enabled:
                raise NoRoute("provider", "this account is disabled")
            return route
    raise NoRoute("provider", f"no account of this code for {channel} is granted to this project")
