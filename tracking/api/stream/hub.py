"""Hands events to the streams and long polls that wait for them. Lives in the event loop of the stream process.

Everybody gets the same bytes, made once. Who does not take them loses the connection when its share of memory is full,
and resumes from the database.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from tracking.api import json
from tracking.services.stream import Event, Filter

KEPT = 1_000  # frames that may wait for one client


@dataclass(eq=False, slots=True)
class Listener:
    """An open stream, or a long poll."""

    project_id: int
    prefix: str  # of the key
    filter: Filter
    frames: deque[tuple[int, bytes]] = field(default_factory=deque)  # (number, bytes); no bytes: a heartbeat
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    ended: str = ""  # why

    def push(self, number: int, frame: bytes) -> None:
        if len(self.frames) >= KEPT:
            return self.end("it is too slow")
        self.frames.append((number, frame))
        self.woken.set()
        return None

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        self.woken.set()

    def take(self, after: int) -> tuple[int, bytes]:
        """All that waits and is newer, in one piece; and the number that it reaches."""
        self.woken.clear()
        waiting, pieces = list(self.frames), []
        self.frames.clear()
        for number, frame in waiting:
            if number > after:
                pieces.append(frame or b": heartbeat\nid: %d\n\n" % number)
                after = number
            elif not frame:
                pieces.append(b": heartbeat\n\n")
        return after, b"".join(pieces)


class Hub:
    def __init__(self) -> None:
        self._everything: defaultdict[int, set[Listener]] = defaultdict(set)  # by project
        self._single: defaultdict[UUID, set[Listener]] = defaultdict(set)  # by message
        self._listeners: set[Listener] = set()
        self._of_key: Counter[str] = Counter()
        self.position = 0  # the number up to which all has been handed on

    def __len__(self) -> int:
        return len(self._listeners)

    def open_of(self, prefix: str) -> int:
        return self._of_key[prefix]

    def join(self, listener: Listener) -> None:
        """It gets what is numbered from now on."""
        self._listeners.add(listener)
        for place in self._places(listener):
            place.add(listener)

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        for place in self._places(listener):
            place.discard(listener)
        for key in listener.filter.messages:
            if not self._single[key]:
                del self._single[key]

    def _places(self, listener: Listener) -> list[set[Listener]]:
        wanted = listener.filter.messages
        return [self._single[key] for key in wanted] if wanted else [self._everything[listener.project_id]]

    def count(self, prefix: str, change: int) -> None:
        """Of requests under way by a key: one counts from its start, before it joins."""
        self._of_key[prefix] += change
        if not self._of_key[prefix]:
            del self._of_key[prefix]

    # -- what the tail calls, in the event loop

    def deliver(self, events: Iterable[Event]) -> None:
        for event in events:
            self.position = event.number
            there = self._everything.get(event.project_id), self._single.get(event.message_id)
            wanting = [one for found in there if found for one in found]
            if wanting:
                frame = frame_of(event)
                for listener in wanting:
                    if listener.project_id == event.project_id and listener.filter.wants(event):
                        listener.push(event.number, frame)

    def beat(self) -> None:
        """A sign of life, with the number up to which nothing was missed: whoever resumes from it has no gap."""
        for listener in list(self._listeners):
            listener.push(self.position, b"")

    def end_keys(self, prefixes: Collection[str]) -> None:
        self._end((each for each in self._listeners if each.prefix in prefixes), "its key is not valid any more")

    def end_all(self) -> None:
        self._end(self._listeners, "the process ends")

    @staticmethod
    def _end(listeners: Iterable[Listener], why: str) -> None:
        for listener in list(listeners):
            listener.end(why)

    # -- what the tail asks, from its own thread: copies, made by one operation each

    def keys(self) -> list[str]:
        return list(self._of_key)

    def projects(self) -> list[int]:
        return sorted({listener.project_id for listener in list(self._listeners)})


def frame_of(event: Event) -> bytes:
    data = {
        "notification_id": event.message_id,
        "status": event.status,
        "previous": event.previous,
        "reason": event.reason or None,
        "channel": event.channel,
        "timestamp": event.at,
    }
    return b"id: %d\nevent: status\ndata: %s\n\n" % (event.number, json.dumps(data))


def notice(kind: str, number: int, text: str) -> bytes:
    """`ready` and `reset`: about the stream itself."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), json.dumps({"detail": text}))
