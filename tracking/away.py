"""How it shows that the database is away: nothing is wrong with what was asked, and it may be asked again. Known to the
edges, which answer 503, to the loops, which wait, and to the logs."""

from __future__ import annotations

import psycopg
from django.db import InterfaceError, OperationalError

AWAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)  # of the pool, too
