"""How it shows that the database is away: nothing is wrong with what was asked, and it may be asked again. Known to the
edges, which answer 503, and to the loops, which wait."""

from __future__ import annotations

import psycopg
from django.db import InterfaceError, OperationalError
from psycopg_pool import PoolClosed, PoolTimeout

AWAY = (
    *(OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError),
    *(PoolTimeout, PoolClosed),
)
