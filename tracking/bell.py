"""Wakes a loop from its sender threads: they ring, it waits for that beside its other ears. Used by Dispatcher and
Publisher."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


class Bell:
    """For `select`. A thread may ring it when the loop has ended: nobody hears."""

    def __init__(self) -> None:
        self._ear, self._rope = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._rope, False)
        self._lock = threading.Lock()
        self._open = True

    def fileno(self) -> int:
        return self._ear

    def ring(self) -> None:
        with self._lock, suppress(BlockingIOError):  # it is full: the loop will look anyway
            if self._open:
                os.write(self._rope, b"!")

    def quiet(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._ear, 4096):
                pass

    def close(self) -> None:
        with self._lock:
            self._open = False
            os.close(self._ear)
            os.close(self._rope)
