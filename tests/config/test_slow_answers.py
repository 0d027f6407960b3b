"""Since when clients have been taking their answers: what the guard of a web process counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config.slow_bodies import Guard


class Parts:
    """A response of two parts."""

    def __init__(self) -> None:
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    def close(self) -> None:
        self.closed = True


def test_threads_whose_clients_take_nothing_are_stuck() -> None:
    given = [Parts() for _ in range(4)]
    left = list(given)
    guard = Guard(lambda environ, start: left.pop(0), threads=2, seconds=-1, end=lambda: None)

    def call() -> Iterable[bytes]:
        return guard({"wsgi.input": None}, None)

    one, other = iter(call()), iter(call())
    assert not guard.stuck()
    assert next(one) == b"a" and not guard.stuck()
    assert next(other) == b"a" and guard.stuck()
    assert list(one) == [b"b"] and not guard.stuck()  # its client took all of it
    never = iter(call())
    assert next(never) == b"a" and guard.stuck()
    never.close()  # type: ignore[attr-defined]  # its client went away
    assert given[2].closed and not guard.stuck()
    call().close()  # type: ignore[attr-defined]  # nobody began to read, as after HEAD
    assert given[3].closed and not guard.stuck()
