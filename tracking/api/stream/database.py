"""Runs services in a few threads, so that the event loop never waits for the database. Used by the stream process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")
THREADS = 4  # each with a connection of its own

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="stream-db")


async def ask(service: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    def work() -> T:
        close_old_connections()  # one that broke is replaced; Django does that for its own requests only
        return service(*args, **kwargs)

    return await asyncio.get_running_loop().run_in_executor(_pool, work)
