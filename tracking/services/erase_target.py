"""Erasure: who is erased, what a step has done, and the SQL that all steps share. Called by the modules beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from tracking.models import Erasure
from tracking.redact import Needle

FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Target:
    """Who is erased, and up to which id."""

    erasure: Erasure
    needle: Needle
    end: UUID

    @property
    def project_id(self) -> int:
        return self.erasure.project_id


@dataclass(slots=True)
class Done:
    place: UUID | None = None  # where to go on
    counts: dict[str, int] = field(default_factory=dict)  # table → rows
    waits: int = 0  # messages that are just being sent


def rows(query: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return list(cursor.fetchall())


def execute(query: str, params: list[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return int(cursor.rowcount)
