"""Named events in the manner of Node's EventEmitter, over Django's signals. Used by tracker.

A listener that raises is logged and stops neither the others nor whoever emitted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Self

from django.dispatch import Signal

Listener = Callable[..., Any]


class _Connected:
    """One registration of a listener: the same one may be registered several times."""

    def __init__(self, emitter: Emitter, name: str, listener: Listener, *, once: bool) -> None:
        self.emitter, self.name, self.listener, self.once = emitter, name, listener, once
        self.__qualname__ = getattr(listener, "__qualname__", repr(listener))  # a failure is logged under it

    def __call__(self, *, args: tuple[Any, ...], **_: Any) -> None:
        if self.once and not self.emitter._disconnect(self):
            return
        self.listener(*args)


class Emitter:
    def __init__(self) -> None:
        self._signals: defaultdict[str, Signal] = defaultdict(Signal)
        self._connected: defaultdict[str, list[_Connected]] = defaultdict(list)

    def on(self, event_name: str, listener: Listener) -> Self:
        """Call it with the arguments of every such event from now on."""
        return self._connect(event_name, listener, once=False)

    def once(self, event_name: str, listener: Listener) -> Self:
        """Call it at the next such event only."""
        return self._connect(event_name, listener, once=True)

    def off(self, event_name: str, listener: Listener) -> Self:
        """Undo one registration, the last one."""
        for each in reversed(self._connected[event_name]):
            if each.listener == listener:
                self._disconnect(each)
                break
        return self

    add_listener = on
    remove_listener = off

    def remove_all_listeners(self, event_name: str | None = None) -> Self:
        """Of one event, or of all."""
        for name in [*self._connected] if event_name is None else [event_name]:
            for each in [*self._connected[name]]:
                self._disconnect(each)
        return self

    def emit(self, event_name: str, *args: Any) -> bool:
        """Whether anybody listened."""
        if not self.hears(event_name):
            return False
        self._signals[event_name].send_robust(sender=type(self), args=args)
        return True

    def signal(self, event_name: str) -> Signal:
        """The event as Django's signal, for receivers that are connected to it; they get `args`."""
        return self._signals[event_name]

    def hears(self, event_name: str) -> bool:
        """Whether anybody would be called."""
        return self._signals[event_name].has_listeners(type(self))

    def listener_count(self, event_name: str) -> int:
        return len(self._connected[event_name])

    def listeners(self, event_name: str) -> list[Listener]:
        return [each.listener for each in self._connected[event_name]]

    def event_names(self) -> list[str]:
        return [name for name, connected in self._connected.items() if connected]

    def _connect(self, name: str, listener: Listener, *, once: bool) -> Self:
        if not callable(listener) or iscoroutinefunction(listener):
            raise TypeError("listener: must be a plain function")
        connected = _Connected(self, name, listener, once=once)
        self._connected[name].append(connected)
        self._signals[name].connect(connected, weak=False, dispatch_uid=id(connected))
        return self

    def _disconnect(self, connected: _Connected) -> bool:
        if connected not in self._connected[connected.name]:
            return False
        self._connected[connected.name].remove(connected)
        return bool(self._signals[connected.name].disconnect(dispatch_uid=id(connected)))
