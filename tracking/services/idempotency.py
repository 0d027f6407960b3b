"""The first answer to a request, given again to the same request for 24 hours. Called by submit, in its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson
from django.conf import settings
from django.db import connection

from tracking.models import IdempotencyKey

Answer = dict[str, Any]


class Reused(Exception):
    """The key came with another request before."""


class Overtaken(Exception):
    """Another request with the same key was committed meanwhile: this one is to be rolled back."""


@dataclass(frozen=True, slots=True)
class Key:
    project_id: int
    key: str
    digest: bytes

    @classmethod
    def of(cls, project_id: int, key: str, *, method: str, path: str, document: Any) -> Key:
        """The same JSON in another spelling is the same request."""
        canonical = orjson.dumps([method, path, document], option=orjson.OPT_SORT_KEYS)
        return cls(project_id, key, sha256(canonical).digest())

    def answered(self) -> Answer | None:
        """The answer of before. Raises Reused."""
        found = (
            IdempotencyKey.objects.filter(project_id=self.project_id, key=self.key, created_at__gt=_oldest())
            .values_list("digest", "response")
            .first()
        )
        if found is None:
            return None
        digest, response = found
        if bytes(digest) != self.digest:
            raise Reused
        answer: Answer = orjson.loads(response)
        return answer

    def keep(self, answer: Answer) -> None:
        """Waits for a concurrent request with the same key. Raises Overtaken."""
        response = orjson.dumps(answer, option=orjson.OPT_UTC_Z).decode()
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO tracking_idempotencykey (project_id, key, digest, response, created_at)"
                " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (project_id, key) DO UPDATE"
                " SET digest = excluded.digest, response = excluded.response, created_at = excluded.created_at"
                " WHERE tracking_idempotencykey.created_at <= %s RETURNING id",
                [self.project_id, self.key, self.digest, response, datetime.now(UTC), _oldest()],
            )
            if cursor.fetchone() is None:
                raise Overtaken


def _oldest() -> datetime:
    return datetime.now(UTC) - timedelta(hours=settings.IDEMPOTENCY_HOURS)
