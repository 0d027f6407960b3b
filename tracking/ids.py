"""UUIDv7 keys: made in the application, time-ordered, and the message's `created_at`. Pure; used everywhere.

The key's clock is the application's. Submit refuses to run more than a minute beside the database's (see `submit`).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from uuid import UUID

import uuid_utils
from uuid_utils.compat import uuid7

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


# A forked worker would go on with its parent's random state and could make the same keys.
os.register_at_fork(after_in_child=uuid_utils.reseed_rng)


def new() -> UUID:
    return uuid7()


def time_of(key: UUID) -> datetime:
    """The moment in the key, to the millisecond."""
    return datetime.fromtimestamp(milliseconds(key) / 1000, UTC)


def milliseconds(key: UUID) -> int:
    """The moment in the key, since 1970."""
    return key.int >> 80


def floor(moment: datetime) -> UUID:
    """The smallest key of a moment: a time window is always also said as `floor(since) <= id < floor(until)`."""
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | _VERSION | _VARIANT)


def is_key(value: UUID) -> bool:
    return value.version == 7


def echo(message_id: UUID, number: int) -> str:
    return f"{message_id}.{number}"


def from_echo(text: str) -> tuple[UUID, int] | None:
    """What `echo` made, or None: providers return all kinds of things."""
    head, _, tail = text.rpartition(".")
    try:
        key, number = UUID(head), int(tail)
    except ValueError:
        return None
    return (key, number) if is_key(key) and 0 < number < 32_768 else None
