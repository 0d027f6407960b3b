"""Tells DeliveryTrackers what became of messages, after commit: those of this process by a Django signal, those of
other processes by NOTIFY. Called by record, publish and tracked; heard by tracker.

A process looks once a second which projects have listeners elsewhere; where there are none, a change costs one look
into a set. What is told is small (an id and two words) and told at most once: who must not miss anything uses
webhooks, or asks.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.dispatch import Signal

from tracking import wake
from tracking.models import TrackerListener

log = logging.getLogger(__name__)

KEPT = 1.0  # seconds
MOVED, STOPPED, TOLD, UNTOLD = "moved", "stopped", "told", "untold"
told = Signal()  # with `heard`: a list of News


class News(NamedTuple):
    """`moved`: a message changed its status from `before` (nothing: it is new) to `after`. `stopped`: it is tracked no
    more. `told`, `untold`: the delivery of a message's own webhook succeeded or was given up; `key` is its id."""

    kind: str
    project_id: int
    key: UUID
    channel: str = ""
    before: str = ""
    after: str = ""


def after_commit(news: Sequence[News]) -> None:
    if news:
        transaction.on_commit(lambda: _tell(news), robust=True)


def _tell(news: Sequence[News]) -> None:
    told.send_robust(sender=None, heard=news)
    listened = _book.projects()
    for each in news if listened else ():
        if each.project_id in listened:
            words = (word or "-" for word in each[3:])
            wake.tell(channel(each.project_id), " ".join([_us(), each.kind, each.key.hex, *words]))


def channel(project_id: int) -> str:
    return f"postroom_tracker_{project_id:d}"


def heard(project_id: int, payload: str) -> list[News]:
    """What another process told; nothing where it was this one."""
    found = []
    for line in payload.splitlines():
        who, kind, key, *words = line.split(" ")
        if who != _us():
            found.append(News(kind, project_id, UUID(key), *("" if word == "-" else word for word in words)))
    return found


_tokens: dict[int, str] = {}


def _us() -> str:
    """Tells this process from every other; a forked one is another."""
    return _tokens.get(os.getpid()) or _tokens.setdefault(os.getpid(), secrets.token_hex(6))


class _Book:
    """The projects that somebody listens to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._projects: frozenset[int] = frozenset()

    def projects(self) -> frozenset[int]:
        if time.monotonic() >= self._until:
            with self._lock:
                if time.monotonic() >= self._until:
                    listening = TrackerListener.objects.filter(until__gt=Now()).values_list("project_id", flat=True)
                    self._projects = frozenset(listening)
                    self._until = time.monotonic() + KEPT
        return self._projects

    def forget(self) -> None:
        self._until = 0.0


_book = _Book()
forget = _book.forget
